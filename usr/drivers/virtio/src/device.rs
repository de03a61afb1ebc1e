//! How a driver begins, and how it goes on after an interrupt.

use virtio_drivers::{
    Error,
    transport::{DeviceStatus, Transport},
};

bitflags::bitflags! {
    /// Features that drivers accept: none but the one that tells the interface's version (6).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Features: u64 {
        const VERSION_1 = 1 << 32;
    }
}

/// How often an interrupt that stands is acknowledged until the device counts as broken.
const ACKNOWLEDGEMENTS: usize = 1000;

/// Resets the device and agrees with it on features (3.1.1, steps 1 to 6). The driver sets up queues then,
/// and calls [`Transport::finish_init`].
///
/// # Errors
/// [`Error::Unsupported`] if the device doesn't take what is agreed on, or is one of the time before version
/// 1 that says otherwise.
pub fn begin(transport: &mut impl Transport) -> Result<(), Error> {
    let agreed = transport.begin_init(Features::all());
    if transport.requires_legacy_layout() {
        // Before version 1, devices can't refuse.
        return Ok(());
    }
    let is_taken = transport.get_status().contains(DeviceStatus::FEATURES_OK);
    if is_taken && agreed.contains(Features::VERSION_1) {
        Ok(())
    } else {
        Err(Error::Unsupported)
    }
}

/// Takes note of what the device interrupts for, until it drops its line: interrupts that are triggered by an
/// edge come only when it is raised anew.
///
/// # Errors
/// [`Error::IoError`] if it doesn't drop it, or says that it has to be reset.
pub fn acknowledge(transport: &mut impl Transport) -> Result<(), Error> {
    let mut reads = 0..ACKNOWLEDGEMENTS;
    let is_dropped = reads.any(|_| transport.ack_interrupt().is_empty());
    let status = transport.get_status();
    if is_dropped && !status.contains(DeviceStatus::DEVICE_NEEDS_RESET) {
        Ok(())
    } else {
        Err(Error::IoError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_rt::virtio::fake::FakeDevice;
    use virtio_drivers::transport::DeviceType;

    fn device() -> FakeDevice {
        FakeDevice::new(DeviceType::Console, &[])
    }

    #[test]
    fn no_feature_is_accepted_but_the_version() {
        let mut modern = device();
        modern.set_features(u64::MAX);
        assert_eq!(begin(&mut modern), Ok(()));
        assert_eq!(modern.accepted(), 1 << 32);
        assert!(modern.get_status().contains(DeviceStatus::FEATURES_OK));
        let mut legacy = device();
        legacy.set_legacy(true);
        legacy.set_features(0x3000_0007);
        // It knows nothing of this bit.
        legacy.refuse(DeviceStatus::FEATURES_OK);
        assert_eq!(begin(&mut legacy), Ok(()));
        assert_eq!(legacy.accepted(), 0);
    }

    #[test]
    fn devices_that_agree_on_nothing_are_refused() {
        let mut refusing = device();
        refusing.refuse(DeviceStatus::FEATURES_OK);
        assert_eq!(begin(&mut refusing), Err(Error::Unsupported));
        let mut old = device();
        old.set_features(0xffff_ffff);
        assert_eq!(begin(&mut old), Err(Error::Unsupported));
    }

    #[test]
    fn an_interrupt_is_acknowledged_until_the_line_drops() {
        let mut it = device();
        it.used(0, 0, 0);
        assert!(it.interrupts());
        assert_eq!(acknowledge(&mut it), Ok(()));
        assert!(!it.interrupts());
        it.raise(DeviceStatus::DEVICE_NEEDS_RESET);
        assert_eq!(acknowledge(&mut it), Err(Error::IoError));
        let mut stuck = device();
        stuck.stick();
        assert_eq!(acknowledge(&mut stuck), Err(Error::IoError));
    }
}
