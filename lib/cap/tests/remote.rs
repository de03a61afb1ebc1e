//! What an operation answers on what other kernels have a part in: each cell of the table
//! in `docs/020-capabilities.md`, with nothing changed where it isn't done.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, ExportMode, OperationId};
use peers::{PAGE, Peer, RAM, at_index};

use ObjectType::{Frame, Ram};

const DESIGN: &str = include_str!("../../../docs/020-capabilities.md");

/// The slot with the object, and one that is empty.
const AT: u32 = 3;
const EMPTY: u32 = 9;

/// A kernel with a Ram in slot 1, and in slot 2 another that nothing is made of; and a
/// second kernel.
fn kernels() -> (Peer, Peer) {
    let (mut a, b) = (Peer::new(0), Peer::new(1));
    for (at, base) in [(1, RAM), (2, RAM << 1)] {
        let ram = Capability::memory(Ram, PhysAddr(base), 16 * PAGE, Rights::all());
        a.create(ram, at).expect("at boot");
    }
    (a, b)
}

/// The kernel that is asked, with the object in slot [`AT`] as the column says: a Frame
/// of four pages, or for retype a Ram.
fn object(column: &str, kind: ObjectType) -> Option<Peer> {
    let (mut a, mut b) = kernels();
    a.retype(1, kind, 0, 4 * PAGE, AT).expect("free memory");
    match (column, kind) {
        ("foreign copy", Frame) => {
            let record = a.export(AT, 1, ExportMode::Copy).expect("sharable");
            b.import(&record, AT).expect("nothing is there");
            a.commit(&record).expect("it was taken");
            return Some(b);
        }
        ("owned, copies elsewhere", Frame) => {
            let record = a.export(AT, 1, ExportMode::Copy).expect("sharable");
            b.import(&record, AT).expect("nothing is there");
            a.commit(&record).expect("it was taken");
        }
        ("owned, a part elsewhere", Frame) => {
            a.part(AT, 4, PAGE, PAGE).expect("free");
            peers::hand_over(&mut a, 4, &mut b, AT).expect("nothing is there");
        }
        ("owned, a part elsewhere", Ram) => {
            a.retype(AT, Frame, PAGE, PAGE, 4).expect("free");
            peers::hand_over(&mut a, 4, &mut b, AT).expect("nothing is there");
        }
        ("moved away", _) => peers::hand_over(&mut a, AT, &mut b, AT).expect("nothing is there"),
        ("on its way", _) => drop(
            a.export(AT, 1, ExportMode::Move)
                .expect("nothing else has it"),
        ),
        _ => return None,
    }
    Some(a)
}

fn perform(peer: &mut Peer, operation: &str) -> Result<(), SysError> {
    match operation {
        "identify" => peer.space(|space, _| space.identify(at_index(AT)).map(drop)),
        "copy" => peer.copy(AT, EMPTY),
        "mint a part" => peer.part(AT, EMPTY, 2 * PAGE, PAGE),
        "map" => peer.map(AT, EMPTY),
        "retype" => peer.retype(AT, Ram, PAGE, PAGE, EMPTY),
        "delete" => peer.delete(AT),
        "revoke" => peer.revoke(AT),
        "export a copy" => peer.export(AT, 2, ExportMode::Copy).map(drop),
        "export, to move" => peer.export(AT, 2, ExportMode::Move).map(drop),
        "seal" => peer.seal(AT),
        "make executable" => peer.make_executable(AT),
        "lock (a monitor's)" => peer.lock(AT, OperationId(1)).map(drop),
        other => panic!("{other} isn't tested"),
    }
}

/// The rows of the table, a cell each; the first are the columns' names.
fn table() -> Vec<Vec<&'static str>> {
    let first = DESIGN
        .find("| operation | foreign copy |")
        .expect("the table");
    let rows = DESIGN[first..]
        .lines()
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn each_operation_says_whether_the_monitor_can_do_it() {
    let rows = table();
    let (columns, rows) = (&rows[0][1..], &rows[2..]);
    assert_eq!((columns.len(), rows.len()), (5, 12));
    let mut through = 0;
    for row in rows {
        let operation = row[0];
        let kind = if operation == "retype" { Ram } else { Frame };
        for (column, &expected) in columns.iter().zip(&row[1..]) {
            let Some(mut peer) = object(column, kind) else {
                assert_eq!(expected, "—", "{operation}, {column}");
                continue;
            };
            let before = (peer.all(), *peer.slot(AT));
            let result = perform(&mut peer, operation);
            let said = match result {
                Ok(()) => "done".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            assert_eq!(said, expected, "{operation}, {column}");
            peer.assert_sound();
            if result.is_err() {
                assert_eq!(
                    (peer.all(), *peer.slot(AT)),
                    before,
                    "{operation}, {column}"
                );
            }
            through += u32::from(result == Err(SysError::ThroughMonitor));
        }
    }
    assert_eq!(through, 9);
}
