//! The process' allocator, and how long it keeps memory that nobody uses.
//!
//! What a query frees, the next one takes. Given back to the operating system in between, it comes back page by page, each cleared in
//! the kernel, and a kernel that is not preempted there keeps lookups waiting for a processor: their p99 beside queries was
//! twice as long.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name: milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// The environment variable by which mimalloc has it set.
const PURGE_DELAY_VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

/// How long unused memory is kept; mimalloc's default is one second.
const KEPT_MS: c_long = 5000;

/// Sets how long memory is kept, unless the environment says it. To be called before there is a second thread.
pub fn keep_memory() {
    if std::env::var_os(PURGE_DELAY_VARIABLE).is_none() {
        // SAFETY: the option has this number in all of mimalloc 2 and 3 and takes any value; there is no other thread yet.
        unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) };
    }
}
