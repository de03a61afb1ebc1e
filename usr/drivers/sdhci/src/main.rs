//! The driver: serves [`Files`] of the card in its slot.
//!
//! It ends when there is no card in its slot as it starts: the Raspberry Pi has two such controllers,
//! and on the board itself the other one's slot holds the radio. A card that is pulled later is waited
//! for: each operation looks for it anew.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{rc::Rc, vec::Vec};
use core::fmt;

use capelin_driver::{Mmio, Patient, StartError, registers};
use capelin_files::files;
use capelin_interfaces::{
    files::{Entry, FileError, Files, FilesServer, Space, WriteMode},
    service,
};
use capelin_rt::{Env, ExitCode, Listener, RtError, println, services};
use embedded_sdmmc::BlockDevice;
use sdhci::{
    REGISTER_BYTES,
    card::{CardError, Slot},
    host::Host,
};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;

/// The base clock of EMMC2, should it not tell, in MHz (BCM2711's clock of that name).
const EMMC2_MHZ: u32 = 100;
/// Of the older controller, which doesn't tell: at most the VideoCore's own.
const OLDER_MHZ: u32 = 500;
const OLDER: &str = "brcm,bcm2835-sdhci";

type Card = files::Files<Slot<Mmio, Patient>>;

/// Serves one client.
struct Session(Rc<Card>);

impl Files for Session {
    async fn list(&self, path: &str, first: u32, limit: u32) -> Result<Vec<Entry>, FileError> {
        self.0.list(path, first, limit)
    }

    async fn look_up(&self, path: &str) -> Result<Entry, FileError> {
        self.0.look_up(path)
    }

    async fn read(&self, path: &str, offset: u32, limit: u32) -> Result<Vec<u8>, FileError> {
        self.0.read(path, offset, limit)
    }

    async fn write(&self, path: &str, bytes: &[u8], mode: WriteMode) -> Result<(), FileError> {
        self.0.write(path, bytes, mode)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.0.copy(from, to)
    }

    async fn remove(&self, path: &str) -> Result<(), FileError> {
        self.0.remove(path)
    }

    async fn make_folder(&self, path: &str) -> Result<(), FileError> {
        self.0.make_folder(path)
    }

    async fn space(&self) -> Result<Space, FileError> {
        self.0.space()
    }
}

/// Why no files are served.
enum NoFiles {
    Start(StartError),
    Card(CardError),
    /// Another driver serves those of its card.
    Second,
}

impl From<StartError> for NoFiles {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<RtError> for NoFiles {
    fn from(error: RtError) -> Self {
        Self::Start(error.into())
    }
}

impl fmt::Display for NoFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Card(error) => error.fmt(f),
            Self::Second => f.write_str("the files of another card are served already"),
        }
    }
}

async fn run(env: Env) -> ExitCode {
    match start(&env).await {
        Ok((card, listener)) => {
            listener
                .serve(move |_| FilesServer(Session(Rc::clone(&card))))
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", env.name());
            match error {
                NoFiles::Card(error) if error.is_gone() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn start(env: &Env) -> Result<(Rc<Card>, Listener), NoFiles> {
    let untold_mhz = match env.arguments().iter().any(|name| name == OLDER) {
        true => OLDER_MHZ,
        false => EMMC2_MHZ,
    };
    let registers = registers(env, 0, REGISTER_BYTES)?;
    let slot = Slot::new(Host::new(registers, Patient, untold_mhz));
    let blocks = slot.num_blocks().map_err(NoFiles::Card)?;
    println!("{}: a card of {} MiB", env.name(), blocks.0 / 2048);
    let listener = Listener::new(RING)?;
    match services::register(service::FILES, &listener, 1).await {
        Err(RtError::NoService) => Err(NoFiles::Second),
        other => Ok(other?),
    }?;
    Ok((Rc::new(files::Files::new(slot)), listener))
}
