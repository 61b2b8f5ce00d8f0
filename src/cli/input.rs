//! What commands read: JSON files, passwords on standard input.

use std::io::Read as _;
use std::path::Path;

use super::error::CliError;
use crate::secret::Secret;

/// No document or password is longer than this, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// A file, or standard input when it is `-`.
pub fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    let name = path.display();
    let failed = |error| CliError::new(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(CliError::new(format!("{name}: larger than 1 MiB")));
    }
    Ok(bytes)
}

/// A password from standard input, without the line break at its end.
pub fn password() -> Result<Secret<String>, CliError> {
    let text =
        String::from_utf8(file(Path::new("-"))?).map_err(|_| CliError::new("the password on standard input is not UTF-8"))?;
    let text = Secret::new(text);
    let password = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(CliError::new("there is no password on standard input"));
    }
    Ok(Secret::new(password.to_owned()))
}
