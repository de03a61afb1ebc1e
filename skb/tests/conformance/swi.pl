% Runs the goals of a file in SWI-Prolog and prints what they give, in the form
% of the .expected files:
%
%     swipl -q swi.pl -- control.pl > control.expected
%
% case(Name, Program, Template, Goal): each in a module of its own that holds the
% clauses of Program. Printed is the template of each solution, then how it ends.

:- initialization((run_file -> halt ; halt(1)), main).
:- use_module(library(lists)).
:- use_module(library(apply)).
:- set_prolog_flag(verbose, silent).
:- style_check(-singleton).

% Solutions that are looked at.
most(20).

run_file :-
    current_prolog_flag(argv, Arguments),
    last(Arguments, File),
    setup_call_cleanup(open(File, read, Stream), run_all(Stream), close(Stream)).

run_all(Stream) :-
    repeat,
    read_term(Stream, Term, []),
    ( Term == end_of_file -> !
    ; Term = case(Name, Program, Template, Goal) -> run(Name, Program, Template, Goal), fail
    ; fail
    ).

run(Name, Program, Template, Goal) :-
    forall(member(Clause, Program), define(Name, Clause)),
    format("~q:", [Name]),
    nb_setval(count, 0),
    catch(solve(Name, Template, Goal, End), Ball, ending(Ball, End)),
    format(" ~w~n", [End]).

% Every predicate is dynamic, as in the knowledge base.
define(Module, Clause) :-
    ( Clause = (Head :- _) -> true ; Head = Clause ),
    functor(Head, Name, Arity),
    dynamic(Module:Name/Arity),
    assertz(Module:Clause).

solve(Module, Template, Goal, End) :-
    (   call(Module:Goal),
        print_term(Template),
        nb_getval(count, N0), N is N0 + 1, nb_setval(count, N),
        most(Most), N >= Most
    ->  End = more
    ;   End = end
    ).

ending(error(Formal0, _), End) :- !, plain(Formal0, Formal), text(error(Formal), End).
ending(Ball, End) :- text(ball(Ball), End).

% Without module qualifiers.
plain(T, T) :- \+ compound(T), !.
plain(_:T0, T) :- !, plain(T0, T).
plain(T0, T) :- T0 =.. [F|As0], maplist(plain, As0, As), T =.. [F|As].

print_term(Term) :- text(Term, Text), format(" ~w |", [Text]).

text(Term0, Text) :-
    copy_term(Term0, Term),
    numbervars(Term, 0, _),
    with_output_to(string(Text),
                   write_term(Term, [quoted(true), ignore_ops(true), numbervars(true)])).
