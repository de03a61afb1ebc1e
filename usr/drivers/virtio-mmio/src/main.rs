//! Looks which virtio devices there are in the places that a device tree has for them: serves [`Slots`]
//! to `init`, and ends when that knows (`docs/117-virtio.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{rc::Rc, vec::Vec};
use core::str::FromStr as _;

use capelin_driver::{Region, StartError, region};
use capelin_interfaces::slots::{Content, Place, Slots, SlotsError, SlotsServer, slots_name};
use capelin_rt::{Env, ExitCode, Listener, future::race, println, services, sync::Event};
use capelin_virtio::mmio;

capelin_rt::main!(run);

/// Messages that may wait.
const RING: usize = 8;

/// What was handed over.
struct Handed {
    registers: Vec<Region>,
    places: Vec<Place>,
    is_known: Event,
}

impl Handed {
    /// What is in the slot at `place`, which is mapped for that long.
    fn look(&self, place: &Place) -> Result<Content, SlotsError> {
        let region = self.registers.get(place.registers);
        let region = region.ok_or(SlotsError::OutOfReach)?;
        let mapped = region.map(place.offset, place.bytes);
        let mapped = mapped.map_err(|_| SlotsError::OutOfReach)?;
        Ok(match mmio::look(&mapped) {
            Ok(None) => Content::Nothing,
            Ok(Some(kind)) => Content::Device(kind),
            Err(error) => {
                println!("virtio-mmio: slot {place}: {error}");
                Content::Unknown
            }
        })
    }
}

/// Serves `init`.
struct Session(Rc<Handed>);

impl Slots for Session {
    async fn look(&self) -> Result<Vec<Content>, SlotsError> {
        let places = self.0.places.iter();
        places.map(|place| self.0.look(place)).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.is_known.set();
    }
}

async fn run(env: Env) -> ExitCode {
    match start(&env).await {
        Ok((handed, listener)) => {
            let is_known = handed.is_known.clone();
            let serving = listener.serve(move |_| SlotsServer(Session(Rc::clone(&handed))));
            race(serving, is_known.wait()).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", env.name());
            ExitCode::FAILURE
        }
    }
}

async fn start(env: &Env) -> Result<(Rc<Handed>, Listener), StartError> {
    let words = env.arguments().iter();
    let places: Vec<_> = words
        .filter_map(|word| Place::from_str(word).ok())
        .collect();
    let count = places.iter().map(|place| place.registers + 1).max();
    let registers = (0..count.unwrap_or(0)).map(|index| region(env, index));
    let handed = Handed {
        registers: registers.collect::<Result<_, _>>()?,
        places,
        is_known: Event::new(),
    };
    let listener = Listener::new(RING)?;
    services::register(&slots_name(env.name()), &listener, 1).await?;
    Ok((Rc::new(handed), listener))
}
