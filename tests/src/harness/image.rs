//! The image of all containers, made here.

use anyhow::{Result, bail, ensure};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What it is called.
pub(crate) const IMAGE: &str = "registry.test/agents/demo:1";

/// How long a runtime may take until it has it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it lies.
const FILE: &str = "/tmp/image/image.tar";

/// Makes it: a static busybox, and links to where the node's programs are mounted.
const MAKE: &str = r#"
set -e
rm -rf /tmp/image; mkdir -p /tmp/image/layer; cd /tmp/image
mkdir -p layer/bin layer/usr layer/proc layer/sys layer/dev layer/tmp layer/etc
cp /usr/bin/busybox layer/bin/busybox
ln -s usr/lib layer/lib; ln -s usr/lib64 layer/lib64
tar -C layer -cf layer.tar .
digest=$(sha256sum layer.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/busybox","sleep","1000000"],"Env":["PATH=/usr/local/bin:/usr/bin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
END
cat > manifest.json <<END
[{"Config":"config.json","RepoTags":["registry.test/agents/demo:1"],"Layers":["layer.tar"]}]
END
tar -cf image.tar config.json manifest.json layer.tar
"#;

/// Gives it to a runtime that has just been started, by a command that takes a file.
pub(crate) fn load(command: &[&str], log: &str) -> Result<()> {
    let made = Command::new("bash").args(["-c", MAKE]).output()?;
    ensure!(made.status.success(), "no image: {made:?}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (program, words) = (command[0], &command[1..]);
        let loaded = Command::new(program).args(words).arg(FILE).output()?;
        if loaded.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
            let log = fs::read_to_string(log).unwrap_or_default();
            bail!("the image is not loaded: {said}\n{log}");
        }
        thread::sleep(Duration::from_millis(500));
    }
}
