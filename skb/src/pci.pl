% Where the BARs behind a PCI host bridge go: docs/115-pcie.md has the facts. Who
% doesn't like it writes pci_places/2 anew; what it answers is checked before any
% register is written (lib/pci, program).
%
% An item is what wants a place on a bus, a BAR or all that lies behind a bridge's
% window:
%
%     item(NegatedAlignment, Size, Side, Reach, Kind, Inside)
%
% Side is the bridge's window that it is reached through: io, memory or
% prefetchable. Reach is how far up it may lie: io, memory32 or memory64. Kind is
% plain if some of it must not be read ahead, else prefetchable. Inside are
% place(Function, Bar, Offset). The standard order of terms puts those with the largest alignment
% first, so that no room is lost between them.

% pci_places(Segment, Places): place(Function, Bar, Address), addresses as the bus
% sees them, for each BAR that finds room. Those with the
% largest alignment are placed first, at the start of the best window with room; what
% finds none is left out.
pci_places(Segment, Places) :-
    findall(I, pci_item(Segment, root, I), Items0),
    msort(Items0, Items),
    findall(w(Space, Kind, From, End),
            ( pci_window(Segment, Space, Kind, Base, _, Size),
              pci_first(Space, First),
              From is max(Base, First),
              End is Base + Size ),
            Windows),
    pci_fit(Items, Windows, Places, []).

% Address 0 is what an unset BAR holds, and the first ports are old devices'.
pci_first(io, 4096) :- !.
pci_first(_, 1048576).

pci_fit([], _, Places, Places).
pci_fit([Item|Items], Windows0, Places0, Places) :-
    (   pci_room(Item, Windows0, Address, Windows)
    ->  Item = item(_, _, _, _, _, Inside),
        pci_shift(Inside, Address, Places0, Places1)
    ;   Windows = Windows0, Places1 = Places0
    ),
    pci_fit(Items, Windows, Places1, Places).

% pci_room(Item, Windows, Address, Rest): the item's place in the best window that
% has room, and the windows without it.
pci_room(item(Negated, Size, _, Reach, Kind, _), Windows, Address, Rest) :-
    findall(Rank-N,
            ( nth0(N, Windows, w(Space, Windowed, _, _)),
              pci_rank(Reach, Space, Far),
              pci_suits(Kind, Windowed, Close),
              Rank = Far-Close ),
            Ranked0),
    sort(Ranked0, Ranked),
    member(_-N, Ranked),
    nth0(N, Windows, w(Space, Windowed, From, End)),
    Alignment is -Negated,
    pci_round(From, Alignment, Address),
    Next is Address + Size,
    pci_limit(Reach, Limit),
    Next =< min(End, Limit), !,
    append(Before, [_|After], Windows),
    length(Before, N),
    append(Before, [w(Space, Windowed, Next, End)|After], Rest).

% pci_rank(Reach, Space, Rank): a window that will do, the best with the lowest rank:
% room below 4 GiB is for those who need it.
pci_rank(io, io, 0).
pci_rank(memory32, memory32, 0).
pci_rank(memory32, memory64, 1).
pci_rank(memory64, memory64, 0).
pci_rank(memory64, memory32, 1).

pci_suits(plain, plain, 0).
pci_suits(prefetchable, prefetchable, 0).
pci_suits(prefetchable, plain, 1).

pci_limit(io, 65536).
pci_limit(memory32, 4294967296).
pci_limit(memory64, 9223372036854775807).

% pci_item(Segment, Above, Item): what wants a place behind the bridge of Above,
% which is root or behind(Bridge, Ahead); Ahead says how far prefetchable memory may
% go through all bridges so far.
pci_item(Segment, Above, item(Negated, Size, Side, Reach, Kind, [place(F, Bar, 0)])) :-
    pci_on(Segment, Above, F),
    pci_bar(F, Bar, Space, Kind, Size),
    pci_side(Above, Space, Kind, Side, Reach),
    Negated is -Size.
pci_item(Segment, Above, item(Negated, Size, Side, Reach, Kind, Inside)) :-
    pci_on(Segment, Above, F),
    pci_bridge(F, _, _, Io, Own),
    pci_ahead(Above, Own, Ahead),
    findall(I, pci_item(Segment, behind(F, Ahead), I), Items0),
    msort(Items0, Items),
    member(Side-Granule, [io-4096, memory-1048576, prefetchable-1048576]),
    ( Side == io -> Io == yes ; true ),
    pci_of_side(Items, Side, [First|Rest]),
    pci_pack([First|Rest], 0, Inside, [], Used, prefetchable, Kind, memory64, Reach0),
    ( Side == io -> Reach = io ; Reach = Reach0 ),
    pci_round(Used, Granule, Size),
    arg(1, First, Largest),
    Negated is min(Largest, -Granule).

pci_on(Segment, root, F) :- pci_root(F, Segment).
pci_on(_, behind(Bridge, _), F) :- pci_behind(F, Bridge).

pci_ahead(root, Own, Own) :- !.
pci_ahead(behind(_, memory64), Own, Own) :- !.
pci_ahead(behind(_, memory32), Own, memory32) :- Own \== none, !.
pci_ahead(_, _, none).

pci_side(_, io, _, io, io) :- !.
pci_side(root, Space, plain, memory, Space) :- !.
pci_side(root, Space, prefetchable, prefetchable, Space) :- !.
pci_side(behind(_, memory64), memory64, prefetchable, prefetchable, memory64) :- !.
pci_side(behind(_, memory32), _, prefetchable, prefetchable, memory32) :- !.
pci_side(_, _, _, memory, memory32).

pci_of_side([], _, []).
pci_of_side([I|Is], Side, Of) :-
    ( arg(3, I, Side) -> Of = [I|Rest] ; Of = Rest ),
    pci_of_side(Is, Side, Rest).

% pci_pack(Items, From, Inside, End, Used, Kind0, Kind, Reach0, Reach): the items one
% behind the other, and what is true of all of them.
pci_pack([], Used, Inside, Inside, Used, Kind, Kind, Reach, Reach).
pci_pack([item(Negated, Size, _, R, K, Places)|Items], From, Inside0, Inside, Used, K0, Kind, R0, Reach) :-
    Alignment is -Negated,
    pci_round(From, Alignment, At),
    pci_shift(Places, At, Inside0, Inside1),
    Next is At + Size,
    ( K == plain -> K1 = plain ; K1 = K0 ),
    ( R == memory32 -> R1 = memory32 ; R1 = R0 ),
    pci_pack(Items, Next, Inside1, Inside, Used, K1, Kind, R1, Reach).

pci_shift([], _, Places, Places).
pci_shift([place(F, Bar, Offset)|Ps], By, [place(F, Bar, Address)|Places0], Places) :-
    Address is Offset + By,
    pci_shift(Ps, By, Places0, Places).

% pci_round(Number, Unit, Rounded): up to a multiple.
pci_round(Number, Unit, Rounded) :- Rounded is (Number + Unit - 1) // Unit * Unit.
