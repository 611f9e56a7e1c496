//! `interlock policy new`: a commented starter.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use crate::cli::New;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};

pub(super) fn run(options: &New) -> Result<Answer, Fault> {
    let ask = io::stdin().is_terminal();
    let name = required("name", options.name.as_ref(), "The agent's name", ask)?;
    let owner = required("owner", options.owner.as_ref(), "Who answers for it", ask)?;
    let contact = required(
        "contact",
        options.contact.as_ref(),
        "How to reach them",
        ask,
    )?;
    let text = starter(options, &name, &owner, &contact)?;
    let file = options
        .output
        .as_ref()
        .map_or("the new policy".to_owned(), |path| {
            path.display().to_string()
        });
    // What was answered may be wrong: nobody is handed a starter that does not compile.
    for policy in agent_policy::parse(&file, text.as_bytes())? {
        policy.compile()?;
    }
    let Some(path) = &options.output else {
        return match options.json {
            true => Answer::json(&json!({"agent": name, "policy": text}), Outcome::Fine),
            false => Ok(Answer::text(text, Outcome::Fine)),
        };
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Fault::Write {
            path: path.clone(),
            source,
        })?;
    if options.json {
        return Answer::json(&json!({"agent": name, "file": file}), Outcome::Fine);
    }
    let next = format!("wrote {file}; next: interlock policy check {file}");
    Ok(Answer::text(next, Outcome::Fine))
}

/// A flag's value, or the answer to a question where somebody is there to ask.
fn required(
    flag: &str,
    given: Option<&String>,
    question: &str,
    ask: bool,
) -> Result<String, Fault> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let mut answer = String::new();
    if ask {
        eprint!("{question}: ");
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|source| Fault::Read {
                path: "standard input".into(),
                source,
            })?;
    }
    match answer.trim() {
        "" => Err(Fault::unexpected(
            "policy new",
            format!("no --{flag}"),
            format!("--{flag}: {}", question.to_lowercase()),
        )),
        answer => Ok(answer.to_owned()),
    }
}

fn starter(options: &New, name: &str, owner: &str, contact: &str) -> Result<String, Fault> {
    let mut text = format!(
        "# Try it: interlock policy check FILE, interlock policy explain FILE.\n\
         apiVersion: interlock.dev/v1alpha1\n\
         kind: AgentPolicy\n\
         metadata:\n  name: {}\n\
         spec:\n  \
         # The person or team that answers for what the agent does.\n  \
         owner:\n    name: {}\n    contact: {}\n",
        quoted(name),
        quoted(owner),
        quoted(contact)
    );
    if let Some(purpose) = &options.purpose {
        let _ = writeln!(text, "  purpose: {}", quoted(purpose));
    }
    text += "\n  # What no rule names is denied. First, where it may connect to.\n";
    if options.connect.is_empty() {
        text += "  # egress:\n  #   allow:\n  #     - to: [192.0.2.0/24]\n  #       ports: [443]\n  #       protocol: tcp\n";
    } else {
        text += "  egress:\n    allow:\n";
    }
    for place in &options.connect {
        let (to, port) = place
            .rsplit_once(':')
            .and_then(|(to, port)| Some((to, port.parse::<u16>().ok()?)))
            .ok_or_else(|| {
                Fault::unexpected(
                    "--connect",
                    format!("`{place}`"),
                    "an address or network and a port, such as 192.0.2.0/24:443",
                )
            })?;
        let to = to.trim_start_matches('[').trim_end_matches(']');
        let _ = writeln!(
            text,
            "      - to: [{}]\n        ports: [{port}]\n        protocol: tcp",
            quoted(to)
        );
    }
    text += "\n  # What it may run. notWritable: only from files that it cannot write itself.\n";
    if options.program.is_empty() {
        text += "  # exec:\n  #   allow:\n  #     - programs: [/usr/bin/git]\n  #       notWritable: true\n";
    } else {
        text += "  exec:\n    allow:\n";
    }
    for program in &options.program {
        let _ = writeln!(
            text,
            "      - programs: [{}]\n        notWritable: true",
            quoted(program)
        );
    }
    text += "\n  # What it may do to files. Names such as .env are denied wherever they lie.\n";
    match &options.workspace {
        None => {
            text += "  # files:\n  #   allow:\n  #     - access: [read, write, create]\n  #       paths: [\"/work/**\"]\n";
        }
        Some(folder) => {
            let below = format!("{}/**", folder.trim_end_matches('/'));
            let _ = writeln!(
                text,
                "  files:\n    allow:\n      - access: [read, write, create, delete, rename]\n        paths: [{}]\n    \
                 deny:\n      - access: [read, write, create, rename]\n        paths: [.env, \"*.pem\"]",
                quoted(&below)
            );
        }
    }
    text += "\n  # How its sessions end.\n  # end:\n  #   ttl: 8h\n";
    Ok(text)
}

/// A text that is the same in JSON and in YAML.
fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}
