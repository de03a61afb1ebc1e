% The start-up tree of a machine whose cores are on one node and in several sockets or
% clusters, or have threads. `machine_facts` adds these rules to `rules.pl` where cpu-map
% tells some of them apart.

% A core's path is [Socket, Cluster]; where cores have threads, [Socket, Cluster, Core]. The
% cores below a leader, in order of their paths, are divided among its children: at
% each level those of other sockets (clusters, cores) first, whole ones, and then
% what is left of its own. So of two sockets, or two clusters of one, or two cores
% of one cluster, one is started from the other once, and everything else within.

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
