//! A device and its memory for drivers' tests on the host: it sees what the driver puts into its queues,
//! and answers what the test says, true or not.

use alloc::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    rc::Rc,
    vec,
    vec::Vec,
};
use core::{cell::RefCell, ptr, ptr::NonNull};

use virtio_drivers::{
    BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Memory of the host; its addresses are those that devices use.
#[derive(Clone, Copy, Debug)]
pub struct HostMemory;

/// Whole pages.
fn layout(pages: usize) -> Layout {
    let bytes = pages.saturating_mul(PAGE_SIZE);
    Layout::from_size_align(bytes, PAGE_SIZE).expect("tests ask for few pages")
}

// SAFETY: each method says how it keeps what the trait asks of it.
unsafe impl Hal for HostMemory {
    // Implementation safety: zeroed pages of the heap, until they are given back.
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: a queue has at least one page.
        let start = unsafe { alloc_zeroed(layout(pages)) };
        let start = NonNull::new(start).expect("tests take little memory");
        (start.as_ptr().expose_provenance() as PhysAddr, start)
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller gives back what `dma_alloc` gave.
        unsafe { dealloc(start.as_ptr(), layout(pages)) };
        0
    }

    // Implementation safety: no transport of ours calls this.
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        panic!("registers are reached through capabilities")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A buffer that the device has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offered {
    /// By which the device gives it back.
    pub id: u16,
    /// Where it is.
    address: u64,
    /// How long it is.
    pub bytes: u32,
    /// Whether the device writes it.
    pub is_writable: bool,
}

/// A queue as its device sees it (2.7).
#[derive(Clone, Copy, Debug)]
struct Rings {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    taken: u16,
    put: u16,
}

#[derive(Debug)]
struct State {
    kind: DeviceType,
    is_legacy: bool,
    ignores_queues: bool,
    features: u64,
    accepted: u64,
    status: DeviceStatus,
    refuses: DeviceStatus,
    interrupt: u32,
    stuck: u32,
    sizes: Vec<u32>,
    queues: BTreeMap<u16, Rings>,
    notified: Vec<u16>,
}

/// A device that does what a test says. Copies are the same device.
#[derive(Clone, Debug)]
pub struct FakeDevice(Rc<RefCell<State>>);

/// Reads `N` bytes of memory that a driver has told its device of.
fn load<const N: usize>(address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let start: *const u8 = ptr::with_exposed_provenance(usize::try_from(address).unwrap_or(0));
    for (offset, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: `HostMemory` gave out this memory, which the driver owns for as long as the device has
        // it: a test is one thread, and the driver doesn't run meanwhile.
        *byte = unsafe { start.wrapping_add(offset).read() };
    }
    bytes
}

/// Writes such memory.
fn store(address: u64, bytes: &[u8]) {
    let start: *mut u8 = ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0));
    for (offset, byte) in bytes.iter().enumerate() {
        // SAFETY: as for `load`.
        unsafe { start.wrapping_add(offset).write(*byte) };
    }
}

impl FakeDevice {
    /// A device with queues of at most that many buffers.
    #[must_use]
    pub fn new(kind: DeviceType, sizes: &[u32]) -> Self {
        Self(Rc::new(RefCell::new(State {
            kind,
            is_legacy: false,
            ignores_queues: false,
            features: 1 << 32,
            accepted: 0,
            status: DeviceStatus::empty(),
            refuses: DeviceStatus::empty(),
            interrupt: 0,
            stuck: 0,
            sizes: sizes.to_vec(),
            queues: BTreeMap::new(),
            notified: Vec::new(),
        })))
    }

    /// It is of the time before version 1, or isn't.
    pub fn set_legacy(&self, is_legacy: bool) {
        let mut state = self.0.borrow_mut();
        state.is_legacy = is_legacy;
        state.features = if is_legacy { 0 } else { 1 << 32 };
    }

    /// The features that it offers.
    pub fn set_features(&self, features: u64) {
        self.0.borrow_mut().features = features;
    }

    /// The features that its driver has accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.borrow().accepted
    }

    /// It doesn't take these bits of its status.
    pub fn refuse(&self, bits: DeviceStatus) {
        self.0.borrow_mut().refuses = bits;
    }

    /// Its status, with these bits besides: it needs a reset, say.
    pub fn raise(&self, bits: DeviceStatus) {
        self.0.borrow_mut().status |= bits;
    }

    /// Queues that are set up stay unknown to it.
    pub fn ignore_queues(&self) {
        self.0.borrow_mut().ignores_queues = true;
    }

    /// Its interrupt stands, whatever is done about it.
    pub fn stick(&self) {
        self.0.borrow_mut().stuck = 1;
    }

    /// Whether its interrupt stands.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.0.borrow().interrupt != 0
    }

    /// The queues that it was told of since this was asked.
    #[must_use]
    pub fn notified(&self) -> Vec<u16> {
        core::mem::take(&mut self.0.borrow_mut().notified)
    }

    /// The next buffer that the driver has put into that queue.
    #[must_use]
    pub fn next(&self, queue: u16) -> Option<Offered> {
        let mut state = self.0.borrow_mut();
        let rings = state.queues.get_mut(&queue)?;
        let index = u16::from_le_bytes(load(rings.available + 2));
        if rings.taken == index {
            return None;
        }
        let place = u64::from(rings.taken % rings.size);
        let id = u16::from_le_bytes(load(rings.available + 4 + 2 * place));
        rings.taken = rings.taken.wrapping_add(1);
        let descriptor = rings.descriptors + 16 * u64::from(id);
        Some(Offered {
            id,
            address: u64::from_le_bytes(load(descriptor)),
            bytes: u32::from_le_bytes(load(descriptor + 8)),
            is_writable: u16::from_le_bytes(load(descriptor + 12)) & 2 != 0,
        })
    }

    /// What is in a buffer.
    #[must_use]
    pub fn read(&self, buffer: &Offered) -> Vec<u8> {
        let bytes = (0..u64::from(buffer.bytes)).map(|offset| load(buffer.address + offset));
        bytes.map(|[byte]: [u8; 1]| byte).collect()
    }

    /// Writes to a buffer's start.
    pub fn write(&self, buffer: &Offered, bytes: &[u8]) {
        let most = usize::try_from(buffer.bytes).unwrap_or(usize::MAX);
        store(buffer.address, &bytes[..bytes.len().min(most)]);
    }

    /// Says that it is done with the buffer `id`, to which it wrote `bytes` bytes, and interrupts.
    pub fn used(&self, queue: u16, id: u32, bytes: u32) {
        let mut state = self.0.borrow_mut();
        state.interrupt |= 1;
        let Some(rings) = state.queues.get_mut(&queue) else {
            return;
        };
        let place = rings.used + 4 + 8 * u64::from(rings.put % rings.size);
        store(place, &id.to_le_bytes());
        store(place + 4, &bytes.to_le_bytes());
        rings.put = rings.put.wrapping_add(1);
        store(rings.used + 2, &rings.put.to_le_bytes());
    }

    /// Says that it is done with so many buffers more, of which it doesn't say which.
    pub fn claim_used(&self, queue: u16, count: u16) {
        let mut state = self.0.borrow_mut();
        state.interrupt |= 1;
        if let Some(rings) = state.queues.get_mut(&queue) {
            rings.put = rings.put.wrapping_add(count);
            store(rings.used + 2, &rings.put.to_le_bytes());
        }
    }

    /// Reads all buffers that the driver has put into that queue, and gives them back.
    #[must_use]
    pub fn consume(&self, queue: u16) -> Vec<u8> {
        let mut all = vec![];
        while let Some(buffer) = self.next(queue) {
            all.extend(self.read(&buffer));
            self.used(queue, buffer.id.into(), 0);
        }
        all
    }

    /// Writes `bytes` to the next buffer of that queue. Whether there was one.
    pub fn answer(&self, queue: u16, bytes: &[u8]) -> bool {
        let Some(buffer) = self.next(queue) else {
            return false;
        };
        self.write(&buffer, bytes);
        self.used(
            queue,
            buffer.id.into(),
            u32::try_from(bytes.len()).unwrap_or(0),
        );
        true
    }
}

impl Transport for FakeDevice {
    fn device_type(&self) -> DeviceType {
        self.0.borrow().kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.borrow().features
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.0.borrow_mut().accepted = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let state = self.0.borrow();
        state.sizes.get(usize::from(queue)).copied().unwrap_or(0)
    }

    fn notify(&mut self, queue: u16) {
        self.0.borrow_mut().notified.push(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.borrow().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut state = self.0.borrow_mut();
        state.status = status.difference(state.refuses);
        if status.is_empty() {
            state.queues.clear();
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.0.borrow().is_legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let mut state = self.0.borrow_mut();
        let rings = Rings {
            size: u16::try_from(size).unwrap_or(u16::MAX),
            descriptors,
            available: driver_area,
            used: device_area,
            taken: 0,
            put: 0,
        };
        if !state.ignores_queues {
            state.queues.insert(queue, rings);
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.borrow_mut().queues.remove(&queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.borrow().queues.contains_key(&queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let mut state = self.0.borrow_mut();
        let standing = state.interrupt | state.stuck;
        state.interrupt = 0;
        InterruptStatus::from_bits_retain(standing)
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> Result<T, Error> {
        Err(Error::ConfigSpaceMissing)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> Result<(), Error> {
        Err(Error::ConfigSpaceMissing)
    }
}
