//! Expressions that answer in the place of people, in CEL: whether one can be used. What it says is the
//! daemon's to ask.

use cel::Program;

/// Bytes of an expression.
const MOST: usize = 1000;

/// How often it may walk over a list. Walks lie in one another at worst.
const WALKS: usize = 2;

/// What walks.
const MACROS: [&str; 6] = [
    ".all(",
    ".exists(",
    ".exists_one(",
    ".map(",
    ".filter(",
    ".reduce(",
];

/// Whether an expression can be used; otherwise what was found.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > MOST {
        return Err(format!("an expression of more than {MOST} bytes"));
    }
    let words: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let walks: usize = MACROS.iter().map(|word| words.matches(word).count()).sum();
    if walks > WALKS {
        return Err(format!("{walks} walks over lists, more than {WALKS}"));
    }
    let text = text.to_owned();
    // Whatever becomes of the parser, it is not this thread's.
    let parsed = std::thread::spawn(move || Program::compile(&text).map(drop)).join();
    match parsed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            Err(format!("no CEL expression: {first}"))
        }
        Err(_) => Err("an expression that cannot be read".to_owned()),
    }
}
