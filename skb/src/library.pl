% The library: predicates that need nothing but the built-ins. A program may
% define any of them anew for itself; the library and the clauses consulted
% before keep these.

% Control.
once(G) :- call(G), !.
ignore(G) :- call(G), !.
ignore(_).
not(G) :- \+ G.
forall(C, A) :- \+ (C, \+ A).
apply(G, Extra) :- G =.. L0, append(L0, Extra, L1), G1 =.. L1, call(G1).
repeat.
repeat :- repeat.

% Lists.
append([], L, L).
append([H|T], L, [H|R]) :- append(T, L, R).

append(Ls, L) :- '$foldr_append'(Ls, L).
'$foldr_append'([], []).
'$foldr_append'([L|Ls], R) :- append(L, R0, R), '$foldr_append'(Ls, R0).

member(X, [Y|T]) :- '$member'(T, X, Y).
'$member'(_, X, X).
'$member'([Y|T], X, _) :- '$member'(T, X, Y).

memberchk(X, L) :- member(X, L), !.

length(L, N) :-
    '$list'(L, M, T),
    '$length'(T, M, N).
'$length'(T, M, N) :- T == [], !, N = M.
'$length'(T, _, _) :- nonvar(T), !, throw(error(type_error(list, T), _)).
'$length'(T, M, N) :- integer(N), !, N >= M, K is N - M, '$open_list'(K, T).
'$length'(T, M, N) :- var(N), !, '$longer'(T, M, N).
'$length'(_, _, N) :- throw(error(type_error(integer, N), _)).
'$open_list'(0, []) :- !.
'$open_list'(K, [_|T]) :- K1 is K - 1, '$open_list'(K1, T).
'$longer'([], N, N).
'$longer'([_|T], M, N) :- M1 is M + 1, '$longer'(T, M1, N).

is_list(L) :- '$list'(L, _, T), T == [].

reverse(L, R) :- '$reverse'(L, [], R).
'$reverse'([], R, R).
'$reverse'([H|T], A, R) :- '$reverse'(T, [H|A], R).

nth0(I, L, X) :- integer(I), !, I >= 0, '$nth'(L, I, X).
nth0(I, L, X) :- var(I), '$nth_of'(L, 0, I, X).
nth1(I, L, X) :- integer(I), !, I >= 1, I0 is I - 1, '$nth'(L, I0, X).
nth1(I, L, X) :- var(I), '$nth_of'(L, 1, I, X).
'$nth'([H|_], 0, X) :- !, X = H.
'$nth'([_|T], I, X) :- I1 is I - 1, '$nth'(T, I1, X).
'$nth_of'([H|T], I, J, X) :- '$nth_of'(T, H, I, J, X).
'$nth_of'(_, H, I, I, H).
'$nth_of'([H|T], _, I, J, X) :- I1 is I + 1, '$nth_of'(T, H, I1, J, X).

last([X], Y) :- !, X = Y.
last([_|T], X) :- last(T, X).

select(X, [X|T], T).
select(X, [H|T], [H|R]) :- select(X, T, R).
selectchk(X, L, R) :- select(X, L, R), !.

delete([], _, []).
delete([H|T], X, R) :- H \= X, !, R = [H|R1], delete(T, X, R1).
delete([_|T], X, R) :- delete(T, X, R).

subtract([], _, []).
subtract([H|T], L, R) :- memberchk(H, L), !, subtract(T, L, R).
subtract([H|T], L, [H|R]) :- subtract(T, L, R).

sum_list(L, S) :- '$sum'(L, 0, S).
'$sum'([], S, S).
'$sum'([H|T], A, S) :- A1 is A + H, '$sum'(T, A1, S).

max_list([H|T], M) :- '$max'(T, H, M).
'$max'([], M, M).
'$max'([H|T], A, M) :- A1 is max(A, H), '$max'(T, A1, M).
min_list([H|T], M) :- '$min'(T, H, M).
'$min'([], M, M).
'$min'([H|T], A, M) :- A1 is min(A, H), '$min'(T, A1, M).

numlist(L, H, []) :- L > H, !.
numlist(L, H, [L|T]) :- L1 is L + 1, numlist(L1, H, T).

% Higher order. The list comes first within, so that its index decides.
maplist(G, L) :- '$map'(L, G).
'$map'([], _).
'$map'([X|Xs], G) :- call(G, X), '$map'(Xs, G).
maplist(G, L, M) :- '$map'(L, M, G).
'$map'([], [], _).
'$map'([X|Xs], [Y|Ys], G) :- call(G, X, Y), '$map'(Xs, Ys, G).
maplist(G, L, M, N) :- '$map'(L, M, N, G).
'$map'([], [], [], _).
'$map'([X|Xs], [Y|Ys], [Z|Zs], G) :- call(G, X, Y, Z), '$map'(Xs, Ys, Zs, G).
foldl(G, L, A0, A) :- '$foldl'(L, G, A0, A).
'$foldl'([], _, A, A).
'$foldl'([X|Xs], G, A0, A) :- call(G, X, A0, A1), '$foldl'(Xs, G, A1, A).
include(G, L, M) :- '$include'(L, G, M).
'$include'([], _, []).
'$include'([X|Xs], G, R) :- ( call(G, X) -> R = [X|R1] ; R = R1 ), '$include'(Xs, G, R1).
exclude(G, L, M) :- '$exclude'(L, G, M).
'$exclude'([], _, []).
'$exclude'([X|Xs], G, R) :- ( call(G, X) -> R = R1 ; R = [X|R1] ), '$exclude'(Xs, G, R1).

% Pairs.
pairs_keys([], []).
pairs_keys([K-_|T], [K|R]) :- pairs_keys(T, R).
pairs_values([], []).
pairs_values([_-V|T], [V|R]) :- pairs_values(T, R).

% Terms.
arg(N, T, A) :- integer(N), !, '$arg'(N, T, A).
arg(N, T, A) :- var(N), functor(T, _, M), between(1, M, N), '$arg'(N, T, A).
arg(N, _, _) :- nonvar(N), \+ integer(N), throw(error(type_error(integer, N), _)).
succ(X, Y) :- integer(X), !, X >= 0, Y is X + 1.
succ(X, Y) :- Y > 0, X is Y - 1.
atom_concat(A, B, C) :- '$concat'(A, B, C).
atom_string(A, S) :- nonvar(A), !, '$text'(A, _, S0), S = S0.
atom_string(A, S) :- '$text'(S, A, _).

% The database.
clause(H, B) :- '$readable'(H), '$clause'(H, B, _).
retract(C) :- '$split'(C, H, B), '$modifiable'(H), '$clause'(H, B, R), '$erase'(H, R).
'$split'(C, _, _) :- var(C), !, throw(error(instantiation_error, _)).
'$split'((H :- B), H, B) :- !.
'$split'(H, H, true).
retractall(H) :- '$modifiable'(H), '$clause'(H, _, R), '$erase'(H, R), fail.
retractall(H) :- functor(H, N, A), dynamic(N/A).
abolish(N/A) :- functor(H, N, A), retractall(H).
