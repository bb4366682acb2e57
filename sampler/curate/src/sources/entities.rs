//! Characters by their names in HTML.

use std::borrow::Cow;

/// Bytes of the longest name that HTML 5 has, between `&` and `;`.
const MAX_NAME_BYTES: usize = 32;

/// The text with what `&amp;`, `&#228;` and `&#xe4;` stand for in their place. What is none is left as it is.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let name_len = rest.bytes().take(MAX_NAME_BYTES + 1).position(|byte| byte == b';');
        match name_len.and_then(|len| Some((len, meant(&rest[..len])?))) {
            Some((len, meant)) => {
                decoded.push_str(&meant);
                rest = &rest[len + 1..];
            }
            None => decoded.push('&'),
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn meant(name: &str) -> Option<Cow<'static, str>> {
    let Some(number) = name.strip_prefix('#') else {
        return quick_xml::escape::resolve_html5_entity(name).map(Cow::Borrowed);
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).filter(|c| *c != '\0').map(|c| Cow::Owned(c.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_characters_and_all_else_is_left() {
        assert_eq!(decoded("a &amp; b&nbsp;&#228;&#xE4;&rarr;"), "a & b\u{a0}ää→");
        for text in ["", "a & b; c", "&;", "&nosuchname;", "&#;", "&#xd800;", "&#0;", "&", "&&&", "ü&ü;"] {
            assert_eq!(decoded(text), text);
        }
        assert!(matches!(decoded("plain"), Cow::Borrowed(_)));
    }
}
