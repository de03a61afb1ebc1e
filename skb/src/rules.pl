% Rules of the machine over the facts of schema.rs; docs/080-skb.md is the
% reference. Every rule copes with missing facts, nodes without cores, nodes
% without memory, and ids with gaps. Ids of cores are unique.

% --- Cores -------------------------------------------------------------------

% start_core(C): the core that the firmware started; the lowest id if nobody says.
start_core(C) :- boot_core(B), core(B, _, _), !, C = B.
start_core(C) :- findall(I, core(I, _, _), Is), min_list(Is, C).

% startable(C): C may be started by another core.
startable(C) :-
    \+ core_state(C, failed),
    \+ core_state(C, disabled),
    \+ core_start(C, none, _).

takes_part(Boot, C) :- C == Boot, !.
takes_part(_, C) :- startable(C).

% boot_order(Cores): all cores that may be started, but the one that runs: those
% of the nearest node first, at one distance by id.
boot_order(Cores) :-
    start_core(Boot),
    core(Boot, _, Home), !,
    findall(D-C,
            ( core(C, _, N), C \== Boot, startable(C), node_distance(Home, N, D) ),
            Keyed),
    sort(Keyed, Sorted),
    pairs_values(Sorted, Cores).

% --- Nodes and memory --------------------------------------------------------

% node_distance(A, B, D): as measured, else as in the other direction, else 10
% within a node and 20 between two.
node_distance(A, B, D) :- distance(A, B, M), !, D = M.
node_distance(A, B, D) :- distance(B, A, M), !, D = M.
node_distance(A, A, D) :- !, D = 10.
node_distance(_, _, 20).

% has_memory(N): the node N has memory.
has_memory(N) :- memory(_, Size, N), Size > 0, !.

% nearest_memory(N, Nodes): all nodes with memory, the nearest to N first, at one
% distance by id.
nearest_memory(N, Nodes) :-
    findall(M, ( memory(_, Size, M), Size > 0 ), Ms0),
    sort(Ms0, Ms),
    findall(k(D, Other, M),
            ( member(M, Ms), node_distance(N, M, D), ( M == N -> Other = 0 ; Other = 1 ) ),
            Keyed),
    sort(Keyed, Sorted),
    findall(M, member(k(_, _, M), Sorted), Nodes).

% home_node(C, Node): where the core's home memory lies: its own node, else the
% nearest with memory. Fails if the machine has no memory.
home_node(C, Node) :- core(C, _, N), memory_node(N, Node).

memory_node(N, Node) :- has_memory(N), !, Node = N.
memory_node(N, Node) :- nearest_memory(N, [M|_]), Node = M.

% ring_node(From, To, Node): where the ring that From writes and To reads lies:
% at the receiver.
ring_node(From, To, Node) :- core(From, _, _), home_node(To, Node).

% --- Trees -------------------------------------------------------------------
% The start-up tree, which is the monitors' overlay too. The first core of a node
% leads it; the boot core leads its own. Leaders form a tree of fan-out
% leader_fanout, near nodes first, and below each leader its node's other cores
% hang with fan-out boot_fanout. Where all cores are on one node and cpu-map divides
% them, topology_tree below says how. No core has more children than boot_fanout.

boot_fanout(4).
leader_fanout(2).

% boot_tree(Parent, Children): who starts whom; [] for a core that starts nobody.
boot_tree(Parent, Children) :-
    is_divided, !,
    topology_tree(Trees),
    member(Parent-Children, Trees).
boot_tree(Parent, Children) :-
    nonvar(Parent), !,
    tree_nodes(Boot, Nodes),
    core(Parent, _, N),
    takes_part(Boot, Parent), !,
    node_cores(Boot, N, [Leader|Rest]),
    leader_place(N, Nodes, Place, Remotes),
    local_fanout(Remotes, Local),
    (   Parent == Leader
    ->  leaders_below(Place, Remotes, Nodes, Boot, Far),
        take(Local, Rest, Near, _),
        append(Far, Near, Kids)
    ;   nth1(I, Rest, Parent), !,
        boot_fanout(F),
        Skip is Local + (I - 1) * F,
        skip(Skip, Rest, Below),
        take(F, Below, Kids, _)
    ),
    Children = Kids.
boot_tree(Parent, Children) :-
    tree_nodes(Boot, Nodes),
    node_groups(Nodes, Boot, Groups),
    heads(Groups, [_|Leaders]),
    group_trees(Groups, Leaders, Trees, []),
    member(Parent-Children, Trees).

% boot_parent(Core, Parent): who starts Core. The boot core has no parent.
boot_parent(Core, Parent) :-
    is_divided, !,
    topology_tree(Trees),
    member(Parent-Children, Trees),
    member(Core, Children).
boot_parent(Core, Parent) :-
    nonvar(Core), !,
    tree_nodes(Boot, Nodes),
    Core \== Boot,
    core(Core, _, N),
    startable(Core), !,
    node_cores(Boot, N, [Leader|Rest]),
    leader_place(N, Nodes, Place, Remotes),
    (   Core == Leader
    ->  leader_fanout(F),
        Above is (Place - 1) // F,
        nth0(Above, Nodes, M),
        node_cores(Boot, M, [P|_])
    ;   nth1(I, Rest, Core), !,
        local_fanout(Remotes, Local),
        (   I =< Local
        ->  P = Leader
        ;   boot_fanout(F),
            Above is (I - Local - 1) // F,
            nth0(Above, Rest, P)
        )
    ),
    Parent = P.
boot_parent(Core, Parent) :- boot_tree(Parent, Children), member(Core, Children).

% overlay_tree(Parent, Children), overlay_parent(Core, Parent): the monitors' tree.
overlay_tree(Parent, Children) :- boot_tree(Parent, Children).
overlay_parent(Core, Parent) :- boot_parent(Core, Parent).

% tree_nodes(Boot, Nodes): the boot core and the nodes with cores that take part,
% the boot core's own first, then the nearest.
tree_nodes(Boot, [Home|Others]) :-
    start_core(Boot),
    core(Boot, _, Home), !,
    findall(N, ( core(C, _, N), N \== Home, startable(C) ), Ns0),
    sort(Ns0, Ns),
    findall(D-N, ( member(N, Ns), node_distance(Home, N, D) ), Keyed),
    sort(Keyed, Sorted),
    pairs_values(Sorted, Others).

% node_cores(Boot, N, Cores): the node's cores that take part, its leader first.
node_cores(Boot, N, Cores) :-
    findall(C, ( core(C, _, N), takes_part(Boot, C) ), Cs0),
    sort(Cs0, Cs),
    (   selectchk(Boot, Cs, Rest)
    ->  Cores = [Boot|Rest]
    ;   Cores = Cs
    ).

% leader_place(N, Nodes, Place, Remotes): the node's place among the nodes, and
% how many leaders its leader starts.
leader_place(N, Nodes, Place, Remotes) :-
    nth0(Place, Nodes, N), !,
    length(Nodes, Count),
    leader_fanout(F),
    Remotes is max(0, min(F, Count - 1 - Place * F)).

local_fanout(Remotes, Local) :- boot_fanout(F), Local is max(1, F - Remotes).

leaders_below(Place, Remotes, Nodes, Boot, Leaders) :-
    leader_fanout(F),
    Skip is Place * F + 1,
    skip(Skip, Nodes, Below),
    take(Remotes, Below, Ns, _),
    findall(L, ( member(N, Ns), node_cores(Boot, N, [L|_]) ), Leaders).

node_groups([], _, []).
node_groups([N|Ns], Boot, [G|Gs]) :- node_cores(Boot, N, G), node_groups(Ns, Boot, Gs).

heads([], []).
heads([[H|_]|Gs], [H|Hs]) :- heads(Gs, Hs).

% group_trees(Groups, Leaders, Trees, End): Parent-Children for every core, where
% Leaders are those that nobody starts yet.
group_trees([], _, End, End).
group_trees([[Leader|Rest]|Groups], Leaders, [Leader-Children|T0], End) :-
    leader_fanout(F),
    take(F, Leaders, Far, Later),
    length(Far, Remotes),
    local_fanout(Remotes, Local),
    take(Local, Rest, Near, Below),
    append(Far, Near, Children),
    local_trees(Rest, Below, T0, T),
    group_trees(Groups, Later, T, End).

% The cores of a node are their own queue: the n-th takes the next ones as its
% children.
local_trees([], _, End, End).
local_trees([Parent|Ps], Below, [Parent-Children|T], End) :-
    boot_fanout(F),
    take(F, Below, Children, Later),
    local_trees(Ps, Later, T, End).

% --- Trees by sockets, clusters and threads -----------------------------------
% A core's path is [Socket, Cluster]; where cores have threads, [Socket, Cluster, Core]. The
% cores below a leader, in order of their paths, are divided among its children: at
% each level those of other sockets (clusters, cores) first, whole ones, and then
% what is left of its own. So of two sockets, or two clusters of one, or two cores
% of one cluster, one is started from the other once, and everything else within.

% is_divided: all cores that take part are on one node, and some differ in socket,
% cluster or thread.
is_divided :-
    start_core(Boot),
    core(Boot, _, Home), !,
    \+ ( core(C, _, N), N \== Home, startable(C) ),
    core_topology(_, S, K, _, T), !,
    core_topology(_, S1, K1, _, T1),
    [S1, K1, T1] \== [S, K, T], !.

% core_path(Kind, C, Path): cores that cpu-map doesn't name are in a socket of their own.
core_path(Kind, C, Path) :- core_topology(C, S, K, O, _), !, kind_path(Kind, S, K, O, Path).
core_path(Kind, C, Path) :- kind_path(Kind, none, C, C, Path).

kind_path(plain, S, K, _, [S, K]).
kind_path(threads, S, K, O, [S, K, O]).

path_kind(Kind) :- core_topology(_, _, _, _, T), T > 0, !, Kind = threads.
path_kind(plain).

% topology_tree(Trees): Parent-Children for every core, what is nearest to the boot
% core first.
topology_tree(Trees) :-
    start_core(Boot),
    path_kind(Kind),
    core_path(Kind, Boot, Path),
    findall(Keys-(P-C),
            ( core(C, _, _), C \== Boot, startable(C), core_path(Kind, C, P), path_keys(Path, P, Keys) ),
            Keyed),
    sort(Keyed, Sorted),
    pairs_values(Sorted, Cores),
    boot_fanout(F),
    spread(Path-Boot, Cores, F, Trees, []).

% path_keys(From, Path, Keys): what sorts paths, those that begin as From does first.
path_keys([], [], []).
path_keys([H|From], [H|Path], [0, H|Keys]) :- !, path_keys(From, Path, Keys).
path_keys([_|_], Path, [1|Path]).

% spread(Path-Leader, Cores, F, Trees, End): the tree of the leader and the cores
% below it, whose paths begin at one level.
spread(Path-Leader, Cores, F, [Leader-Children|T0], End) :-
    shares(Path, Cores, F, Shares),
    share_leaders(Shares, Children),
    spread_all(Shares, F, T0, End).

spread_all([], _, End, End).
spread_all([share(Leader, Cores)|Shares], F, T0, End) :-
    spread(Leader, Cores, F, T0, T),
    spread_all(Shares, F, T, End).

share_leaders([], []).
share_leaders([share(_-C, _)|Shares], [C|Cs]) :- share_leaders(Shares, Cs).

% shares(Path, Cores, F, Shares): Cores, below a leader at Path, divided among at
% most F of them.
shares(_, [], _, []) :- !.
shares(_, [First|Rest], 1, [share(First, Rest)]) :- !.
shares([], Cores, F, Shares) :- !,
    length(Cores, Count),
    chunks(Cores, Count, F, Shares).
shares([Head|Path], Cores, F, Shares) :-
    own_part(Cores, Head, Own, Others),
    domains(Others, Domains),
    far_shares(Path, Own, F, Limit),
    bundles(Domains, Limit, Far),
    length(Far, Used),
    Left is F - Used,
    shares(Path, Own, Left, Near),
    append(Far, Near, Shares).

% far_shares(Path, Own, F, Limit): how many shares others get: one is left for what
% is the leader's own, and above the last level two are enough.
far_shares(Path, Own, F, Limit) :-
    ( Own == [] -> Most = F ; Most is F - 1 ),
    ( Path == [] -> Limit = Most ; Limit is min(2, Most) ).

% own_part(Cores, Head, Own, Others): Own begin with Head, which is taken off.
own_part([], _, [], []).
own_part([[H|P]-C|Cs], Head, [P-C|Own], Others) :- H == Head, !, own_part(Cs, Head, Own, Others).
own_part([C|Cs], Head, Own, [C|Others]) :- own_part(Cs, Head, Own, Others).

% domains(Cores, Domains): Cores, in lists of those with one head.
domains([], []).
domains([[H|P]-C|Cs], [[[H|P]-C|Same]|Domains]) :-
    same_head(Cs, H, Same, Others),
    domains(Others, Domains).

same_head([[H|P]-C|Cs], Head, [[H|P]-C|Same], Others) :- H == Head, !, same_head(Cs, Head, Same, Others).
same_head(Others, _, [], Others).

% bundles(Domains, Limit, Shares): at most Limit shares, each of whole domains. The
% paths within a single one begin at the next level.
bundles([], _, []) :- !.
bundles(Domains, Limit, [Share|Shares]) :-
    length(Domains, Count),
    Size is (Count + Limit - 1) // Limit,
    take(Size, Domains, Ds, Others),
    share(Ds, Share),
    Next is Limit - 1,
    bundles(Others, Next, Shares).

share([[[H|P]-C|Cs]], share(P-C, Rest)) :- !, own_part(Cs, H, Rest, _).
share(Domains, share(First, Rest)) :- join(Domains, [First|Rest]).

% chunks(Cores, Count, Limit, Shares): Cores, Count of them, in at most Limit shares.
chunks([], _, _, []) :- !.
chunks(Cores, Count, Limit, [share(First, Rest)|Shares]) :-
    Size is (Count + Limit - 1) // Limit,
    take(Size, Cores, [First|Rest], Others),
    Left is Count - Size,
    Next is Limit - 1,
    chunks(Others, Left, Next, Shares).

join([], []).
join([L|Ls], All) :- join(Ls, Rest), append(L, Rest, All).

% take(N, List, First, Rest): the first N elements, or all if there are fewer.
take(0, Rest, [], Rest) :- !.
take(_, [], [], []) :- !.
take(N, [X|Xs], [X|Ys], Rest) :- M is N - 1, take(M, Xs, Ys, Rest).

% skip(N, List, Rest): the list without its first N elements.
skip(0, Rest, Rest) :- !.
skip(_, [], []) :- !.
skip(N, [_|Xs], Rest) :- M is N - 1, skip(M, Xs, Rest).
