% Control constructs, exceptions, and the database under change: goals of our
% own with what ISO/IEC 13211-1 says. control.expected holds what SWI-Prolog
% gives; docs/080-skb.md says how it is recorded and compared.
%
% case(Name, Program, Template, Goal).

% --- Cut is local to \+ and to the condition of -> (7.8.3, 7.8.7, 8.15.1).
case(not_cut_fail, [], x, \+ (!, fail)).
case(not_cut, [], x, \+ !).
case(not_not_cut, [], x, \+ \+ !).
case(not_keeps_outer_choices, [], X, (member(X, [1,2,3]), \+ (X > 1, !, fail))).
case(not_cut_true, [], X, (member(X, [1,2,3]), \+ (X > 1, !))).
case(not_cut_in_disjunction, [], X, (member(X, [1,2,3]), \+ ((X > 2, ! ; fail), fail))).
case(not_cut_first_branch, [], X, (member(X, [1,2,3]), \+ ((! ; true), fail))).
case(not_nested_cut, [], X, (member(X, [1,2,3]), \+ \+ (X > 1, !))).
case(not_deep_cut, [], X, (member(X, [1,2,3]), \+ (member(Y, [1,2,3]), \+ (Y > X, !, fail), !, fail))).
case(not_then_outer_cut, [], X, (member(X, [1,2,3]), \+ (X > 5, !), !)).
case(condition_cut_fail_else, [], X, ((!, fail -> X = a ; X = b))).
case(condition_cut_then, [], X, ((! -> X = a ; X = b))).
case(condition_cut_keeps_outer, [], X-Y, (member(X, [1,2,3]), (X > 1, !, fail -> Y = a ; Y = b))).
case(condition_cut_commits, [], X-Y, (member(X, [1,2]), (member(Y, [1,2,3]), ! -> true ; Y = none))).
case(condition_cut_without_else, [], X, (member(X, [1,2,3]), (X > 1, ! -> true))).
case(condition_cut_fail_without_else, [], X, (member(X, [1,2,3]) , (!, fail -> true))).
case(condition_in_condition, [], X-Y, (member(X, [1,2]), ((!, fail -> true ; true), ! -> Y = a ; Y = b))).
case(condition_in_not, [], X, (member(X, [1,2,3]), \+ ((X > 1, !, fail -> true ; fail)))).
case(not_in_condition, [], X-Y, (member(X, [1,2,3]), (\+ (X > 1, !, fail), X > 2, ! -> Y = a ; Y = b))).
case(condition_disjunction_cut, [], X-Y, (member(X, [1,2]), ((X > 1, ! ; fail) -> Y = a ; Y = b))).
case(condition_second_branch_cut, [], X-Y, (member(X, [1,2]), ((fail ; !, fail ; true) -> Y = a ; Y = b))).
case(else_of_else, [], X-Y, (member(X, [1,2,3]), (X =:= 1, ! -> Y = a ; X =:= 2, !, fail -> Y = b ; Y = c))).
case(cut_twice_in_not, [], X, (member(X, [1,2]), \+ (!, member(_, [1,2]), !, fail))).

% --- Cut in the branches cuts the clause.
case(then_cut, [(p(X) :- member(X, [1,2,3]), (X > 1 -> ! ; true)), p(9)], X, p(X)).
case(else_cut, [(p(X) :- member(X, [1,2,3]), (X > 1 -> true ; !)), p(9)], X, p(X)).
case(or_cut, [(p(X) :- (X = 1 ; X = 2, ! ; X = 3)), p(9)], X, p(X)).
case(or_cut_first, [(p(X) :- (X = 1, ! ; X = 2)), p(9)], X, p(X)).
case(cut_fail, [(p(X) :- X > 1, !, fail), p(_)], X, (member(X, [1,2,1]), p(X))).
case(cut_last, [(p(X) :- member(X, [1,2,3]), !), p(9)], X, p(X)).
case(cut_only, [(p(1) :- !), p(2)], X, p(X)).
case(cut_in_fact_order, [p(1), (p(2) :- !), p(3)], X, p(X)).
case(cut_then_choices, [(p(X) :- !, member(X, [1,2])), p(3)], X, p(X)).
case(cut_leaves_callers_choices, [(p :- !), p], X, (member(X, [1,2]), p)).
case(cut_across_two, [(p(X) :- q(X), !), p(9), q(1), q(2)], X, (p(X) ; X = 10)).
case(then_cut_of_not_clause, [(p(X) :- member(X, [1,2]), (\+ (!, fail) -> ! ; true)), p(9)], X, p(X)).
case(query_cut, [], X, (member(X, [1,2,3]), !)).
case(query_cut_between, [], X-Y, (member(X, [1,2,3]), !, member(Y, [a,b]))).
case(query_or_cut, [], X, (X = 1 ; X = 2, ! ; X = 3)).

% --- call/N is opaque (7.8.3.4).
case(call_cut, [], X, (member(X, [1,2,3]), call(!))).
case(call_cut_fail, [], X, (X = 1 ; call((!, fail)) ; X = 2)).
case(call_conjunction_cut, [], X, call((member(X, [1,2,3]), !))).
case(call_or_cut, [], X, call((X = 1, ! ; X = 2))).
case(call_then, [], X, (call((X = 1 ; X = 2)) -> true)).
case(call_not_cut, [], X, (member(X, [1,2]), call(\+ (!, fail)))).
case(call_condition_cut, [], X-Y, (member(X, [1,2]), call((!, fail -> Y = 1 ; Y = 2)))).
case(call_variable_cut, [], X, (G = !, member(X, [1,2]), G)).
case(call_variable_in_not, [], X, (G = (!, fail), member(X, [1,2]), \+ G)).
case(call_variable_in_condition, [], X-Y, (G = (!, fail), member(X, [1,2]), (G -> Y = a ; Y = b))).
case(call_variable_or, [], X, (G = (member(X, [1,2,3]), !), (G ; X = 9))).
case(call_closure, [add(1, 2), add(2, 3)], X-Y, call(add, X, Y)).
case(call_closure_partial, [p(a, 1), p(a, 2), p(b, 3)], X, call(p(a), X)).
case(call_closure_and, [], X, (call(',', X = 1, !) ; X = 2)).
case(call_closure_not, [], x, call(\+, (!, fail))).
case(call_nested, [], X, call(call(call((member(X, [1,2,3]), X > 1, !))))).
case(call_unbound, [], x, call(_)).
case(call_number, [], x, call(1)).
case(call_bad_body, [], x, call((fail, 1))).
case(call_bad_or, [], x, call((write(3) ; 1))).
case(call_unknown, [], x, call(nobody(1))).

% --- once, ignore, forall.
case(once_cut, [], X-Y, (member(X, [1,2]), once((member(Y, [a,b]), !)))).
case(once_fails, [], X, (member(X, [1,2]), once((X > 1, ! ; fail)))).
case(once_cut_fail, [], X, (X = 1 ; once((!, fail)) ; X = 2)).
case(ignore_cut, [], X, (member(X, [1,2]), ignore((!, fail)))).
case(ignore_binds_once, [], X, ignore(member(X, [1,2]))).
case(forall_cut, [], X, (member(X, [1,2]), forall((member(Y, [1,2]), !), Y =:= 1))).
case(forall_fails, [], X, (member(X, [1,2,3]), forall(member(Y, [1,2]), X > Y))).
case(forall_cut_action, [], X, (member(X, [1,2]), forall(member(_, [1,2]), (! ; fail)))).

% --- If-then-else and disjunction.
case(then_takes_first, [], X, (member(X, [1,2,3]) -> true ; X = 9)).
case(then_keeps_its_choices, [], X, (true -> member(X, [1,2]) ; X = 9)).
case(else_keeps_its_choices, [], X, (fail -> X = 9 ; member(X, [1,2]))).
case(then_without_else_in_or, [], X, ((fail -> X = 1) ; X = 2)).
case(then_in_brackets_in_or, [], X, ((true -> X = 1) ; X = 2)).
case(nested_then, [], X, ((true -> (fail -> X = 1 ; X = 2) ; X = 3) ; X = 4)).
case(then_in_then, [], X, (true -> fail ; X = 1)).
case(or_three, [], X, (X = 1 ; X = 2 ; X = 3)).
case(or_unbound_afterwards, [], X-Y, (X = 1 ; Y = 2)).
case(chain, [], X-Y, (member(X, [1,2,3,4]), (X =:= 1 -> Y = a ; X =:= 2 -> Y = b ; X =:= 3 -> fail ; Y = d))).

% --- findall.
case(findall_cut, [], L, findall(X, (member(X, [1,2,3]), !), L)).
case(findall_in_choices, [], X-L, (member(X, [1,2]), findall(Y, (member(Y, [1,2,3]), Y > X, !), L))).
case(findall_not_cut, [], L, findall(X, (member(X, [1,2,3]), \+ (X > 1, !, fail)), L)).
case(findall_condition_cut, [], L, findall(X-Y, (member(X, [1,2,3]), (X > 1, !, fail -> Y = a ; Y = b)), L)).
case(findall_nested, [], L, findall(M, (member(X, [1,2,3]), findall(Y, (member(Y, [1,2,3]), Y < X), M)), L)).
case(findall_thrown, [], X-L, catch(findall(Y, (member(Y, [1,2]), Y > 1, throw(out)), L), out, X = caught)).
case(findall_thrown_nested, [], L, findall(X, catch((member(X, [1,2,3]), X > 2, throw(t)), t, X = caught), L)).
case(findall_thrown_inner, [], L, findall(M, (member(X, [1,2,3]), catch(findall(Y, (member(Y, [1,2]), Y >= X, throw(t)), M), t, M = caught)), L)).
case(findall_after_cut_out, [], X, (member(X, [1,2]), findall(Y, member(Y, [a]), [a]), !)).
case(findall_copies, [], L-X, (findall(X-Y, member(Y, [1,2]), L))).
case(findall_empty, [], L, findall(x, fail, L)).
case(findall_partial_result, [], T, findall(X, member(X, [1,2,3]), [1|T])).
case(findall_bad_result, [], x, findall(X, member(X, [1,2]), foo)).
case(findall_unbound_goal, [], x, findall(X, _, _)).

% --- catch and throw (7.8.9, 7.8.10).
case(catch_local_cut, [], X, (member(X, [1,2]), catch(!, _, true))).
case(catch_goal_choices, [], X, catch(member(X, [1,2,3]), _, true)).
case(catch_recovery_cut, [], X, (member(X, [1,2]), catch(throw(a), a, !))).
case(catch_inactive, [], X, catch((catch(member(X, [1,2]), inner, X = wrong), throw(inner)), inner, X = outer)).
case(catch_inactive_on_retry, [], X, catch((catch(member(X, [1,2]), b, X = wrong), X > 1, throw(b)), b, X = outer)).
case(catch_active_on_retry, [], X, catch((member(X, [1,2,3]), X > 1, throw(b(X))), b(Y), X = got(Y))).
case(catch_undoes_bindings, [], X-Y, catch((X = 1, throw(b)), b, Y = 2)).
case(catch_no_match, [], X, catch(catch(throw(a), b, X = inner), a, X = outer)).
case(catch_rethrow, [], X, catch(catch(throw(a), Y, throw(b(Y))), b(Z), X = Z)).
case(catch_cut_inside, [], X, (catch((member(X, [1,2,3]), !), _, true) ; X = 9)).
case(catch_after_cut, [(p(X) :- catch(member(X, [1,2,3]), _, true), !), p(9)], X, catch((p(X), throw(t(X))), t(Y), X = Y)).
case(catch_cut_out_of_it, [], X, ((catch(member(X, [1,2]), E, (X = E)), !) ; X = 9)).
case(catch_last_call, [(loop(0) :- throw(done)), (loop(N) :- N > 0, M is N - 1, loop(M))], X, catch(loop(100), X, true)).
case(catch_in_not, [], X, (member(X, [1,2]), \+ catch((!, throw(a)), a, fail))).
case(catch_in_condition, [], X-Y, (member(X, [1,2]), (catch((X > 1, !, throw(a)), a, fail) -> Y = a ; Y = b))).
case(catch_not_from_recovery, [], X, catch(catch(throw(a), a, throw(a)), a, X = outer)).
case(catch_condition_frames, [(p(X) :- catch(q(X), t, fail)), p(z), (q(X) :- member(X, [1,2]), \+ (X > 1, !, fail))], X, p(X)).
case(throw_copies, [], X-Y, (catch(throw(f(Y, Y)), f(A, B), (A == B -> X = same ; X = other)))).
case(throw_unbound, [], x, throw(_)).
case(uncaught, [], X, (member(X, [1,2]), X > 1, throw(mine(X)))).
case(error_in_condition, [], X, (catch((Z > 1 -> true ; true), error(E, _), X = E))).
case(error_in_not, [], x, \+ (!, foo > 1)).

% --- The database under change (7.5.4: logical update view).
case(retract_each, [f(1), f(2), f(3)], X, retract(f(X))).
case(retract_first, [f(1), f(2)], L, (retract(f(_)), !, findall(X, f(X), L))).
case(retract_none, [f(1)], x, retract(f(2))).
case(retract_unknown, [], x, retract(nobody(_))).
case(retract_rule, [(f(X) :- X > 1, true), f(7)], B, retract((f(_) :- B))).
case(retract_fact_body, [f(1), (f(2) :- true), (f(3) :- fail)], X, retract((f(X) :- true))).
case(retract_and_add, [f(1), f(2), f(3)], X-L, (retract(f(X)), Y is X + 10, assertz(f(Y)), findall(Z, f(Z), L))).
case(retract_and_add_in_front, [f(1), f(2)], X-L, (retract(f(X)), Y is X + 10, asserta(f(Y)), findall(Z, f(Z), L))).
case(retract_the_one_added_later, [f(1), f(2)], L, (retract(f(X)), X =:= 1, retract(f(2)), assertz(f(3)), fail ; findall(Z, f(Z), L))).
case(retract_gone_then_new, [f(1), f(2)], L, (retract(f(X)), X =:= 1, retractall(f(_)), assertz(f(8)), assertz(f(2)), fail ; findall(Z, f(Z), L))).
case(retract_gone_then_new_in_front, [f(1), f(2)], L, (retract(f(X)), X =:= 1, retractall(f(_)), asserta(f(2)), asserta(f(8)), fail ; findall(Z, f(Z), L))).
case(retract_last_reused, [f(1), f(2), f(3)], L, (retract(f(X)), X < 3, retract(f(3)), assertz(f(3)), fail ; findall(Z, f(Z), L))).
case(retract_all_then_same, [f(a), f(b), f(c)], L, (retract(f(X)), X == a, retractall(f(_)), assertz(f(b)), assertz(f(c)), assertz(f(d)), fail ; findall(Z, f(Z), L))).
case(retract_two_walks, [f(1), f(2), f(3)], L, (findall(X-Y, (retract(f(X)), retract(f(Y))), L))).
case(retract_while_reading, [f(1), f(2), f(3)], L, findall(X, (f(X), retractall(f(_))), L)).
case(assert_while_reading, [f(1), f(2)], L, findall(X, (f(X), X < 5, Y is X + 2, assertz(f(Y))), L)).
case(asserta_order, [f(2)], L, (asserta(f(1)), assertz(f(3)), findall(X, f(X), L))).
case(assert_rule_with_cut, [], L, (assertz((g(X) :- member(X, [1,2,3]), !)), assertz(g(9)), findall(X, g(X), L))).
case(assert_rule_not_cut, [], L, (assertz((g(X) :- member(X, [1,2,3]), \+ (X > 1, !, fail))), findall(X, g(X), L))).
case(clause_bodies, [f(1), (f(X) :- X > 1, !)], X-B, clause(f(X), B)).
case(clause_while_retracting, [f(1), f(2)], X, (clause(f(X), true), retractall(f(_)))).
case(clause_unbound, [], x, clause(_, _)).
case(clause_unknown, [], x, clause(nobody(1), _)).
case(retract_unbound, [], x, retract(_)).
case(retract_number_head, [], x, retract((4 :- true))).
case(retractall_declares, [], x, (retractall(nothing(_)), nothing(1))).
case(retractall_some, [f(1, a), f(2, b), f(3, a)], L, (retractall(f(_, a)), findall(X-Y, f(X, Y), L))).
case(retract_in_not, [f(1), f(2)], L, (\+ (retract(f(1)), !, fail), findall(X, f(X), L))).
case(abolish_then_add, [f(1), f(2)], L, (retract(f(X)), X =:= 1, retractall(f(_)), assertz(f(5)), fail ; findall(Y, f(Y), L))).
case(assertz_bad, [], x, assertz((foo :- 4))).
case(assertz_number, [], x, assertz(4)).
case(assertz_static, [], x, assertz((atom(_) :- true))).
case(counter, [n(0)], L, (between(1, 5, _), retract(n(X)), Y is X + 1, assertz(n(Y)), fail ; findall(Z, n(Z), L))).
