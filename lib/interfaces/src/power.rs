//! Power of the machine where firmware doesn't see to it: the driver of a board's power management.

use capelin_idc::interface;

crate::service_error! {
    /// Why the machine still runs.
    PowerError {
        /// The device was told, and nothing happened.
        NoEffect = "the power management did nothing",
    }
}

/// Turns the machine off and starts it again.
#[interface(name = "power", version = 1)]
pub trait Power {
    /// Turns the machine off; no answer comes when that works.
    async fn power_off(&self) -> Result<(), PowerError>;

    /// Starts the machine again; no answer comes when that works.
    async fn reboot(&self) -> Result<(), PowerError>;
}
