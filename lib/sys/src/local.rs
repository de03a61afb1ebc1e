//! State that belongs to this dispatcher.
//!
//! `local! { static NAME: T = value; }` makes a cell that `NAME.with(|cell: &RefCell<T>| …)`
//! reaches. On Capelin a program is one dispatcher, so the cell is a plain static; on the host,
//! where tests are threads, each thread has its own.
//!
//! Upcall handlers run like signal handlers between any two instructions. They reach a cell only
//! by `try_borrow_mut`, and give up when it is borrowed.

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "promises that a program has one thread")]
mod imp {
    use core::cell::RefCell;

    /// A cell of this dispatcher.
    pub struct Local<T>(RefCell<T>);

    // SAFETY: a Capelin program has one thread of execution, its dispatcher; upcall handlers
    // interrupt it and run to their end, and the cell's borrow count keeps them apart.
    unsafe impl<T> Sync for Local<T> {}

    impl<T> Local<T> {
        /// One that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(RefCell::new(value))
        }

        /// Calls `body` with it.
        pub fn with<R>(&self, body: impl FnOnce(&RefCell<T>) -> R) -> R {
            body(&self.0)
        }
    }
}
#[cfg(target_os = "none")]
pub use imp::Local;

/// Declares a [`Local`](mod@crate::local).
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! local {
    ($(#[$doc:meta])* $vis:vis static $name:ident: $ty:ty = $value:expr;) => {
        $(#[$doc])*
        $vis static $name: $crate::local::Local<$ty> = $crate::local::Local::new($value);
    };
}

/// Declares a cell of this thread.
#[cfg(not(target_os = "none"))]
#[macro_export]
macro_rules! local {
    ($(#[$doc:meta])* $vis:vis static $name:ident: $ty:ty = $value:expr;) => {
        ::std::thread_local! {
            $(#[$doc])*
            $vis static $name: core::cell::RefCell<$ty> = const { core::cell::RefCell::new($value) };
        }
    };
}
