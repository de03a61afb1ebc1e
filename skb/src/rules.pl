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
% them, topology_tree says how (topology.pl). No core has more children than boot_fanout.

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

% --- Trees by sockets, clusters and threads: topology.pl ------------------------

% is_divided: all cores that take part are on one node, and some differ in socket,
% cluster or thread.
is_divided :-
    start_core(Boot),
    core(Boot, _, Home), !,
    \+ ( core(C, _, N), N \== Home, startable(C) ),
    core_topology(_, S, K, _, T), !,
    core_topology(_, S1, K1, _, T1),
    [S1, K1, T1] \== [S, K, T], !.

% take(N, List, First, Rest): the first N elements, or all if there are fewer.
take(0, Rest, [], Rest) :- !.
take(_, [], [], []) :- !.
take(N, [X|Xs], [X|Ys], Rest) :- M is N - 1, take(M, Xs, Ys, Rest).

% skip(N, List, Rest): the list without its first N elements.
skip(0, Rest, Rest) :- !.
skip(_, [], []) :- !.
skip(N, [_|Xs], Rest) :- M is N - 1, skip(M, Xs, Rest).
