//! The machine stays itself: ordinary programs outside every session do with Interlock in force,
//! and sessions beside them, exactly what they do without.

use crate::harness::Test;
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A name, and what a shell is to do. Each prints what must stay the same, and nothing that may not.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "package",
        "mkdir -p pkg/DEBIAN pkg/opt/w root/var/lib/dpkg/info root/var/lib/dpkg/updates
         touch root/var/lib/dpkg/status root/var/lib/dpkg/available
         printf 'Package: w\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@example.org>\\nDescription: d\\n' > pkg/DEBIAN/control
         echo w > pkg/opt/w/file
         dpkg-deb --root-owner-group -b pkg w.deb
         dpkg --root=$PWD/root --force-depends -i w.deb; cat root/opt/w/file
         dpkg --root=$PWD/root -l w | tail -1; dpkg --root=$PWD/root -r w; test ! -e root/opt/w && echo gone",
    ),
    (
        "git",
        "export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' HOME=$PWD
         git config --global user.name w; git config --global user.email w@example.org
         git init -q -b main one; cd one; for i in 1 2 3; do echo $i > f$i; git add .; git commit -qm c$i; done
         cd ..; git clone -q one two 2>&1; cd two; git mv f1 g1; git commit -qam moved; git log --format='%H %s'; git fsck; git gc -q; git status --short",
    ),
    (
        "compiler",
        "printf '#include <stdio.h>\\nint main(void){for(int i=0;i<3;i++)printf(\"%%d\\\\n\",i);return 7;}' > a.c
         gcc -O1 -o a a.c && ./a; echo $?; gcc -shared -fPIC -o liba.so a.c; ls",
    ),
    (
        "python",
        "python3 - <<'END'
import mmap, multiprocessing, os, socket, subprocess, tempfile, threading
print(subprocess.run(['echo', 'hi'], capture_output=True, text=True).stdout.strip())
server = socket.create_server(('127.0.0.1', 0))
def serve():
    peer, _ = server.accept()
    peer.sendall(peer.recv(9)[::-1])
    peer.close()
thread = threading.Thread(target=serve)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b'abc')
print(client.recv(9))
thread.join()
def square(n): return n * n
with multiprocessing.get_context('fork').Pool(3) as pool: print(pool.map(square, range(5)))
with tempfile.TemporaryFile() as file:
    file.write(bytes(4096)); file.flush()
    with mmap.mmap(file.fileno(), 4096) as view: view[0] = 7; print(view[0])
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
socket.send_fds(a, [b'x'], [1]); print(socket.recv_fds(b, 1, 1)[0])
read, write = os.pipe()
if os.fork() == 0: os.write(write, b'child'); os._exit(0)
os.wait(); print(os.read(read, 9))
END",
    ),
    (
        "tar",
        "mkdir -p t/d; for i in 1 2 3; do echo $i > t/d/$i; done; ln -s d/1 t/link; ln t/d/2 t/hard; chmod 640 t/d/3
         tar --sort=name --mtime=@0 --owner=0 --group=0 -cf t.tar t; sha256sum < t.tar; mkdir u; tar -xpf t.tar -C u; diff -r t u/t && echo same",
    ),
    (
        "rsync",
        "mkdir -p a/b; seq 1000 > a/b/x; touch -d @1 a/b/x; ln -s b/x a/y; rsync -aH a/ c/; rsync -aH --delete a/ c/; diff -r a c && echo same; echo 1 >> a/b/x; rsync -ain a/ c/ | cut -c1-11",
    ),
    (
        "container",
        "mkdir -p c/rootfs/bin c/rootfs/proc c/rootfs/dev c/rootfs/sys; cp /usr/bin/busybox c/rootfs/bin/; cd c; crun spec
         sed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"\\/bin\\/busybox\", \"sh\", \"-c\", \"id -u; hostname; echo in a container\"/' config.json
         crun --cgroup-manager=disabled run workout-$$ 2>&1 | sed 's/workout-[0-9]*/NAME/; s/[0-9TZ:.-]\\{19,\\}//'",
    ),
    (
        "tmux",
        "export TMUX_TMPDIR=$PWD TERM=screen; tmux -f /dev/null new-session -d 'echo in tmux > out; tmux wait-for -S done; cat'; tmux wait-for done; cat out; tmux kill-server",
    ),
    ("strace", "strace -f -e trace=execve -o log sh -c '/usr/bin/true; /usr/bin/false'; echo $?; grep -c execve log"),
    (
        "namespace",
        "unshare -Urmpf --mount-proc sh -c 'id -u; mount -t tmpfs none /mnt && echo x > /mnt/x && cat /mnt/x; ls /proc > /mnt/list; grep -c ^[0-9] /mnt/list; unshare -Ur id -u'",
    ),
    (
        "shell",
        "cat <(echo substituted) | rev | rev; exec 3<>/dev/null; (sleep 5 & kill %1; wait) 2>/dev/null; trap 'echo trapped' USR1; kill -USR1 $$; echo {a..c}; mkfifo f; echo fifo > f & cat f",
    ),
];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "workout.ordinary",
            "ordinary programs do the same with Interlock and without",
            ordinary,
        )
        .patience(400)
        .removes(),
    ]
}

fn ordinary() -> Result<()> {
    product::remove()?;
    let without = results()?;
    Daemon::shared()?;
    let policy = Policy::named("beside");
    let actor = Place::Inside(&policy).obey()?;
    let with = results()?;
    actor.end()?;
    let mut wrong = Vec::new();
    for ((name, _), (before, after)) in PROGRAMS.iter().zip(without.iter().zip(&with)) {
        if !before.starts_with("exit 0\n") {
            wrong.push(format!(
                "{name} does not work here even without Interlock:\n{before}"
            ));
        } else if before != after {
            wrong.push(format!("{name} without:\n{before}{name} with:\n{after}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Exit code and output of each, in a fresh folder.
fn results() -> Result<Vec<String>> {
    PROGRAMS
        .iter()
        .map(|(name, script)| {
            let folder = format!("/var/tmp/workout/{name}");
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder)?;
            let output = Command::new("timeout")
                .args([
                    PATIENCE.as_secs().to_string().as_str(),
                    "bash",
                    "-c",
                    script,
                ])
                .current_dir(&folder)
                .env("LC_ALL", "C")
                .env(
                    "PATH",
                    "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
                )
                .stdin(Stdio::null())
                .output()
                .with_context(|| format!("starting {name}"))?;
            Ok(format!(
                "exit {}\n{}{}",
                output.status.code().unwrap_or(-1),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            ))
        })
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(60);
