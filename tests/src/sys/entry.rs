//! The other ways into the kernel: i386's interrupt from a 64-bit program, and x32's numbers.

use super::check_long;
use std::arch::asm;
use std::ffi::CStr;
use std::io;

/// `kill`, as i386 numbers it.
const KILL: u32 = 37;
/// `open`.
const OPEN: u32 = 5;
/// `getpid`.
const GETPID: u32 = 20;

/// Added to a number by x32 programs.
const X32: libc::c_long = 0x4000_0000;

/// Makes a system call as an i386 program does. Answers nothing when the kernel does not take it:
/// then the processor raises a fault, which must not happen, so the caller asks
/// [`has_i386`] first.
fn i386(number: u32, first: u32, second: u32, third: u32) -> io::Result<u32> {
    let mut result = u64::from(number);
    // SAFETY: the callers below pass numbers and an address below 4 GiB that is live. The compiler
    // keeps rbx for itself, so it is exchanged and restored; the kernel clobbers r8 to r11.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") result,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = u32::try_from(result & u64::from(u32::MAX)).expect("the lower half");
    let signed = result.cast_signed();
    if (-4095..0).contains(&signed) {
        return Err(io::Error::from_raw_os_error(-signed));
    }
    Ok(result)
}

/// Whether the kernel takes calls as i386 programs make them. A child tries: it may die of it.
pub(crate) fn has_i386() -> io::Result<bool> {
    match super::process::fork()? {
        super::process::Fork::Child => {
            let own = i386(GETPID, 0, 0, 0).ok();
            super::process::exit_now(i32::from(own != Some(std::process::id())))
        }
        super::process::Fork::Parent(pid) => {
            Ok(super::process::wait(pid)? == super::process::End::Exited(0))
        }
    }
}

/// `kill(2)` by i386's way in.
pub(crate) fn kill_i386(pid: i32, signal: i32) -> io::Result<()> {
    i386(KILL, pid.cast_unsigned(), signal.cast_unsigned(), 0).map(drop)
}

/// `open(2)` for writing by i386's way in.
pub(crate) fn open_i386(path: &CStr) -> io::Result<()> {
    let low = Low::copy(path.to_bytes_with_nul())?;
    let fd = i386(OPEN, low.address, libc::O_WRONLY.cast_unsigned(), 0)?;
    // SAFETY: the descriptor was opened just now and is known to nothing else.
    super::check(unsafe { libc::close(fd.cast_signed()) }).map(drop)
}

/// `connect(2)` by i386's way in.
pub(crate) fn connect_i386(socket: i32, address: &[u8]) -> io::Result<()> {
    const CONNECT: u32 = 362;
    let low = Low::copy(address)?;
    let length = u32::try_from(address.len()).expect("addresses are short");
    i386(CONNECT, socket.cast_unsigned(), low.address, length).map(drop)
}

/// `kill(2)` by x32's number.
pub(crate) fn kill_x32(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check_long(unsafe { libc::syscall(libc::SYS_kill + X32, pid, signal) }).map(drop)
}

/// Bytes below 4 GiB, where i386 can point to.
struct Low {
    address: u32,
}

impl Low {
    const BYTES: usize = 4096;

    fn copy(bytes: &[u8]) -> io::Result<Self> {
        assert!(bytes.len() <= Self::BYTES, "a path or an address is short");
        // SAFETY: a new private mapping, at a low address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is that long, and nothing else uses it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.cast(), bytes.len()) };
        let address = u32::try_from(start as usize).expect("MAP_32BIT was asked for");
        Ok(Self { address })
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: exactly what `copy` mapped.
        unsafe { libc::munmap(self.address as usize as *mut libc::c_void, Self::BYTES) };
    }
}
