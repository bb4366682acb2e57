//! A random paragraph of a document.

use super::measure::Measure;

/// The paragraph that `draw` chooses among those of `text`: lines one after another until they are long enough, so that
/// a heading goes with what it is about; cut if that is too long. None if the whole text is too short.
///
/// # Errors
/// A length cannot be told. The error is the reason alone.
pub fn paragraph(text: &str, measure: &Measure, draw: u64) -> Result<Option<String>, String> {
    let [min, max] = measure.paragraph;
    let (mut all, mut begun): (Vec<String>, _) = (Vec::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !begun.is_empty() {
            begun.push('\n');
        }
        begun.push_str(line);
        if measure.len(&begun)? >= min {
            all.push(std::mem::take(&mut begun));
        }
    }
    if all.is_empty() {
        return Ok(None);
    }
    let chosen = &all[(draw % all.len() as u64) as usize];
    Ok(Some(measure.cut(chosen, max)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::recipe::Lengths;
    use super::*;

    #[test]
    fn lines_are_joined_until_they_are_long_enough_and_cut() {
        let lengths = Lengths { paragraph: Some([10, 20]), ..Lengths::default() };
        let measure = Measure::new(&lengths, Path::new("")).unwrap();
        let text = "Head\n\nA sentence of it.\n \nAnother one. And a third one.\nend";
        let drawn = |draw| paragraph(text, &measure, draw).unwrap().unwrap();
        assert_eq!(drawn(0), "Head\nA sentence of");
        assert_eq!(drawn(1), "Another one.");
        assert_eq!(drawn(2), drawn(0));
        assert_eq!(paragraph("short", &measure, 7).unwrap(), None);
    }
}
