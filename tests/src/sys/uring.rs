//! io_uring, just enough to connect and to send without a system call that says so.
//!
//! The layouts are those of `include/uapi/linux/io_uring.h`, unchanged since 5.4 in what is used.

use super::check_long;
use super::sockaddr::SockAddr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ENTRIES: u32 = 4;
const SETUP_SQPOLL: u32 = 2;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const SQE_LINK: u8 = 1 << 2;
const SQE_ASYNC: u8 = 1 << 4;
const OP_POLL: u8 = 6;
const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const OFFSET_SQ_RING: libc::off_t = 0;
const OFFSET_SQES: libc::off_t = 0x1000_0000;

/// Which of the kernel's tasks does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    /// The task that submits.
    Inline,
    /// A worker of the kernel's pool, made for this ring (`create_io_thread`).
    Pool,
    /// The ring's own polling thread.
    Poller,
}

#[repr(C)]
#[derive(Default)]
struct RingOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags_or_overflow: u32,
    dropped_or_cqes: u32,
    array_or_flags: u32,
    reserved: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: RingOffsets,
    cq: RingOffsets,
}

#[repr(C)]
#[derive(Default)]
struct Submission {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// Bytes of a [`Completion`].
const COMPLETION: u32 = 16;

const _: () = assert!(size_of::<Completion>() == 16);
const _: () = assert!(size_of::<Params>() == 120 && size_of::<Submission>() == 64);

/// A mapping of the ring's memory, unmapped when dropped.
struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, length: usize, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    fn at<T>(&self, offset: u32) -> *mut T {
        let offset = offset as usize;
        assert!(
            offset + size_of::<T>() <= self.length,
            "the kernel gave an offset outside its own ring"
        );
        // SAFETY: within the mapping, as just checked.
        unsafe { self.start.add(offset).cast() }
    }

    fn number(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: within the mapping (see `at`), aligned by the kernel, shared with it, and only
        // ever used as an atomic.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` returned.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// A ring for one operation at a time.
pub(crate) struct Ring {
    fd: OwnedFd,
    params: Params,
    ring: Mapping,
    entries: Mapping,
    worker: Worker,
}

impl Ring {
    /// Sets a ring up.
    pub(crate) fn new(worker: Worker) -> io::Result<Self> {
        let mut params = Params::default();
        if worker == Worker::Poller {
            params.flags = SETUP_SQPOLL;
            params.sq_thread_idle = 1000;
        }
        // SAFETY: the kernel fills the structure, which has the size it expects.
        let fd = check_long(unsafe {
            libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params)
        })?;
        let fd = i32::try_from(fd).expect("a descriptor is an int");
        // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let submissions = params.sq.array_or_flags + params.sq_entries * 4;
        let completions = params.cq.dropped_or_cqes + params.cq_entries * COMPLETION;
        let ring = Mapping::new(&fd, submissions.max(completions) as usize, OFFSET_SQ_RING)?;
        let entries = Mapping::new(
            &fd,
            params.sq_entries as usize * size_of::<Submission>(),
            OFFSET_SQES,
        )?;
        Ok(Self {
            fd,
            params,
            ring,
            entries,
            worker,
        })
    }

    /// Connects a socket.
    pub(crate) fn connect(&self, socket: BorrowedFd<'_>, to: &SockAddr) -> io::Result<()> {
        self.submit(Submission {
            opcode: OP_CONNECT,
            fd: socket.as_raw_fd(),
            address: to.bytes().as_ptr() as u64,
            offset: to.bytes().len() as u64,
            ..Submission::default()
        })
    }

    /// Sends a datagram to an address.
    pub(crate) fn send(
        &self,
        socket: BorrowedFd<'_>,
        data: &[u8],
        to: &SockAddr,
    ) -> io::Result<()> {
        let mut piece = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: a `msghdr` is made of integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = to.bytes().as_ptr().cast_mut().cast();
        message.msg_namelen = u32::try_from(to.bytes().len()).expect("addresses are short");
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        self.submit(Submission {
            opcode: OP_SENDMSG,
            fd: socket.as_raw_fd(),
            address: (&raw const message) as u64,
            length: 1,
            ..Submission::default()
        })
    }

    /// Does nothing, with the credentials that the caller has now.
    pub(crate) fn act_as_registered(&self) -> io::Result<()> {
        const REGISTER_PERSONALITY: libc::c_int = 9;
        const OP_NOP: u8 = 0;
        // SAFETY: takes numbers and no argument.
        let number = check_long(unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                REGISTER_PERSONALITY,
                ptr::null::<u8>(),
                0,
            )
        })?;
        self.submit(Submission {
            opcode: OP_NOP,
            rest: [number.cast_unsigned() << 16, 0, 0],
            ..Submission::default()
        })
    }

    /// Opens a file for reading. The descriptor is left to the end of the process.
    pub(crate) fn open(&self, path: &str) -> io::Result<()> {
        let path = std::ffi::CString::new(path).map_err(io::Error::other)?;
        self.submit(Submission {
            opcode: OP_OPENAT,
            fd: libc::AT_FDCWD,
            address: path.as_ptr() as u64,
            ..Submission::default()
        })
    }

    /// Opens a file for reading once something can be read from a pipe, and waits for neither: a worker of the
    /// kernel's pool begins to wait for the pipe, and what `then` does comes before the file is opened.
    pub(crate) fn open_later(
        &self,
        path: &str,
        then: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let path = std::ffi::CString::new(path).map_err(io::Error::other)?;
        let (reader, mut writer) = io::pipe()?;
        self.add(&Submission {
            opcode: OP_POLL,
            flags: SQE_ASYNC | SQE_LINK,
            fd: reader.as_raw_fd(),
            op_flags: u32::from(libc::POLLIN.cast_unsigned()),
            ..Submission::default()
        });
        self.add(&Submission {
            opcode: OP_OPENAT,
            fd: libc::AT_FDCWD,
            address: path.as_ptr() as u64,
            ..Submission::default()
        });
        self.enter(2, 0, 0)?;
        // Nothing tells when a worker has begun to wait.
        std::thread::sleep(Duration::from_millis(200));
        then()?;
        io::Write::write_all(&mut writer, b"x")?;
        self.enter(0, 2, ENTER_GETEVENTS)?;
        self.end()?;
        self.end()
    }

    /// Submits one operation and waits for its end, so that what it points to stays alive.
    fn submit(&self, mut entry: Submission) -> io::Result<()> {
        if self.worker == Worker::Pool {
            entry.flags |= SQE_ASYNC;
        }
        self.add(&entry);
        match self.worker {
            Worker::Poller => self.enter(0, 1, ENTER_SQ_WAKEUP | ENTER_GETEVENTS)?,
            Worker::Inline | Worker::Pool => self.enter(1, 1, ENTER_GETEVENTS)?,
        }
        self.end()
    }

    /// Puts an operation where the kernel will look for it.
    fn add(&self, entry: &Submission) {
        let sq = &self.params.sq;
        let tail = self.ring.number(sq.tail);
        let place =
            tail.load(Ordering::Acquire) & self.ring.number(sq.ring_mask).load(Ordering::Relaxed);
        let slot = place * u32::try_from(size_of::<Submission>()).expect("64 bytes");
        // SAFETY: one slot of the entries; there are as many as fit the ring, and the kernel has copied what it
        // was told of before.
        unsafe { ptr::copy_nonoverlapping(entry, self.entries.at(slot), 1) };
        self.ring
            .number(sq.array_or_flags + place * 4)
            .store(place, Ordering::Relaxed);
        tail.fetch_add(1, Ordering::Release);
    }

    /// `io_uring_enter(2)`.
    fn enter(&self, submitted: u32, completed: u32, flags: u32) -> io::Result<()> {
        // SAFETY: takes numbers and a null signal mask; what the entries point to lives in those who call us, who
        // wait for their ends.
        check_long(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                submitted,
                completed,
                flags,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        })
        .map(drop)
    }

    /// Waits for the next end of an operation.
    fn end(&self) -> io::Result<()> {
        let cq = &self.params.cq;
        let head = self.ring.number(cq.head);
        let deadline = Instant::now() + Duration::from_secs(10);
        while head.load(Ordering::Relaxed) == self.ring.number(cq.tail).load(Ordering::Acquire) {
            assert!(
                Instant::now() < deadline,
                "io_uring gave no completion within ten seconds"
            );
            std::thread::yield_now();
        }
        let mask = self.ring.number(cq.ring_mask).load(Ordering::Relaxed);
        let place = head.load(Ordering::Relaxed) & mask;
        let at = cq.dropped_or_cqes + place * COMPLETION;
        // SAFETY: the kernel has published this completion by moving the tail past it.
        let completion = unsafe { self.ring.at::<Completion>(at).read() };
        head.fetch_add(1, Ordering::Release);
        if completion.result < 0 {
            return Err(io::Error::from_raw_os_error(-completion.result));
        }
        Ok(())
    }
}
