//! SIGBUS: how a process hears that the disk refused a mapped page, and ends with a word instead of without one.
//!
//! # Contract
//! * The thread that touched the page stops there, for ever: it can neither go on nor unwind, and whatever it held it
//!   keeps. Every other thread runs, so that one of them can say farewell and end the process.
//! * [`BusErrors::wait`] names the address and, as far as the system tells, the file and the offset.
//! * If nobody waits, the process writes one line to stderr and ends with status 1.
//! * The handler calls nothing but `write`, `pause` and `_exit`, which POSIX allows it to.
//!
//! The other room of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the handler writes; negative: it is not installed.
static REPORTS: AtomicI32 = AtomicI32::new(-1);

/// What the handler says where nobody listens.
const LAST_WORDS: &[u8] = b"the disk refused a page of a mapped file (SIGBUS); what was durable is safe\n";

/// A page that the disk refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusError {
    /// Address of the access.
    pub address: u64,
    /// File that is mapped there, and the offset in it, bytes.
    pub place: Option<(PathBuf, u64)>,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk refused a mapped page (SIGBUS)")?;
        match &self.place {
            Some((file, offset)) => write!(f, ": {} at byte {offset}", file.display()),
            None => write!(f, " at address {:#x}", self.address),
        }
    }
}

/// The process's handler of SIGBUS; one for all its threads.
#[derive(Debug)]
pub struct BusErrors {
    reports: PipeReader,
}

impl BusErrors {
    /// Installs the handler.
    ///
    /// # Errors
    /// The system's answer; [`io::ErrorKind::AlreadyExists`] if it was installed before.
    pub fn install() -> io::Result<Self> {
        let (reports, writer) = io::pipe()?;
        // The handler keeps the far end for as long as the process lives.
        let writer = writer.into_raw_fd();
        if (REPORTS.compare_exchange(-1, writer, Ordering::Relaxed, Ordering::Relaxed)).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // SAFETY: all zero is a valid `sigaction`: no flags, no restorer, an empty mask.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
        action.sa_sigaction = handler as usize;
        // On the signal stack that the standard library gives every thread, so that a full stack is no second fault.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is filled in, its handler has the signature that SA_SIGINFO asks for and is safe to run at any
        // point of any thread; nothing is asked back.
        match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, core::ptr::null_mut()) } {
            0 => Ok(Self { reports }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for the next refused page.
    ///
    /// # Errors
    /// The system's answer.
    pub fn wait(&mut self) -> io::Result<BusError> {
        let mut address = [0; 8];
        self.reports.read_exact(&mut address)?;
        let address = u64::from_ne_bytes(address);
        Ok(BusError {
            address,
            place: std::fs::read_to_string("/proc/self/maps")
                .ok()
                .and_then(|maps| place(&maps, address)),
        })
    }
}

/// File and offset of an address, as `/proc/PID/maps` (proc_pid_maps(5)) has them.
fn place(maps: &str, address: u64) -> Option<(PathBuf, u64)> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    maps.lines().find_map(|line| {
        // BOUND: five fields, then a path that may hold blanks.
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (hex(start)?, hex(end)?);
        let offset = hex(fields.nth(1)?)?;
        let path = fields.nth(2)?.trim_start();
        let inside = (start..end).contains(&address) && path.starts_with('/');
        inside.then(|| (PathBuf::from(path), offset + (address - start)))
    })
}

extern "C" fn on_bus_error(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `info`; what it says of a signal that somebody sent is
    // no address, and is only reported.
    let address = unsafe { (*info).si_addr() } as usize as u64;
    let report = address.to_ne_bytes();
    // SAFETY: `write` is async-signal-safe, and the pointer and length are those of an array that lives.
    let told = unsafe { libc::write(REPORTS.load(Ordering::Relaxed), report.as_ptr().cast(), report.len()) };
    if told != report.len() as isize {
        // SAFETY: as above; `_exit` is async-signal-safe and runs nothing of this process.
        unsafe {
            libc::write(libc::STDERR_FILENO, LAST_WORDS.as_ptr().cast(), LAST_WORDS.len());
            libc::_exit(1);
        }
    }
    loop {
        // SAFETY: async-signal-safe; whatever signal ends it, the loop goes on.
        unsafe { libc::pause() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_its_file() {
        let maps = "55d0-55e0 r-xp 00000000 fe:00 12 /usr/bin/a\n\
                    7f00-7f10 rw-s 00001000 fe:00 13                  /a b/00000000.seg\n\
                    7f10-7f20 rw-p 00000000 00:00 0 \n\
                    7f20-7f30 rw-p 00000000 00:00 0                   [heap]\n";
        assert_eq!(place(maps, 0x7f04), Some(("/a b/00000000.seg".into(), 0x1004)));
        assert_eq!(place(maps, 0x55d0), Some(("/usr/bin/a".into(), 0)));
        for nowhere in [0x7f10, 0x7f28, 0x8000] {
            assert_eq!(place(maps, nowhere), None);
        }
        assert_eq!(place("nonsense\n\n- - -\n", 1), None);
    }
}
