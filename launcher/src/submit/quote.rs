//! What may stand in a job script. Words for bash are quoted. Values of `#SBATCH` lines, whose quoting cannot be relied
//! on, are checked, or have characters replaced.

use std::ffi::OsStr;

use tercet_configs::ExitCode;

use crate::exit::Fail;

/// One word of bash, whatever is in it, newlines included: single quotes, in which nothing is special but their end.
///
/// # Errors
/// [`ExitCode::Usage`] for text that is not UTF-8, which the script could not hold readably.
pub fn shell(word: &OsStr) -> Result<String, Fail> {
    let text = word.to_str().ok_or_else(|| {
        let message = format!("{} is not UTF-8, as names in a job script must be", word.to_string_lossy());
        Fail::new(ExitCode::Usage, message)
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Ok(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

/// A value of an `#SBATCH` line that a user has typed.
///
/// # Errors
/// [`ExitCode::Usage`] for blanks, quotes and other characters that Slurm's values have no use for.
pub fn sbatch(option: &str, value: &str) -> Result<String, Fail> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.,:=/+@[]%*&|()".contains(c);
    match !value.is_empty() && value.chars().all(known) {
        true => Ok(value.to_owned()),
        false => {
            let message = format!("{option} {value:?}: expected letters, digits and signs that Slurm's options have");
            Err(Fail::new(ExitCode::Usage, message))
        }
    }
}

/// A job's name: what is unusual becomes an underscore.
pub fn job_name(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    name.chars().map(kept).collect()
}

/// A comment's text: on one line.
pub fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn bash_reads_back_every_word() {
        let words = [
            "plain/name-1.toml",
            "",
            " ",
            "a b",
            "it's",
            "''",
            "\"",
            "$(touch /tmp/x)",
            "`id`",
            "${HOME}",
            "a\nb",
            "\n",
            "\\",
            "\\'",
            "*",
            "~",
            "!!",
            "#no",
            "a;b",
            "-n",
            "täglich",
            "%j",
            "&& exit",
            "\t",
            "$'x'",
            "{a,b}",
            "a=b c",
        ];
        let quoted: Vec<String> = words.iter().map(|word| shell(word.as_ref()).unwrap()).collect();
        let line = format!("printf '%s\\0' {}", quoted.join(" "));
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), words);
        assert_eq!(shell("plain/name-1.toml".as_ref()).unwrap(), "plain/name-1.toml");
    }

    #[test]
    fn sbatch_lines_take_no_more_than_slurms_own_signs() {
        for good in ["1-12:00:00", "gpu,long", "node[01-12]", "a100:8", "afterok:17"] {
            assert_eq!(sbatch("--time", good).unwrap(), good);
        }
        for bad in ["", "a b", "a\nb", "x#", "$(id)", "`id`", "'a'", "\"a\"", "a;b"] {
            assert!(sbatch("--time", bad).is_err(), "{bad:?}");
        }
        assert_eq!(job_name("stage 2\n$(id)"), "stage_2___id_");
        assert_eq!(comment("a\nrm -rf x"), "a rm -rf x");
    }
}
