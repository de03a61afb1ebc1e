//! System call ABI, capability addresses, dispatcher frame and boot information shared by kernel and user space.
#![no_std]
