//! Several CLS in a long text (MCLS; Chen et al., 2024, section 3.2).

use std::num::NonZeroUsize;

use tercet_sampler::{SpecialTokens, TextInput};

/// Frames `content` with a CLS before every `every` tokens, an EOS at the end, and at most `max_len` tokens in all. A
/// text of up to `every` tokens is framed as usual.
pub fn frame_with_cls(content: &[u32], special: &SpecialTokens, every: NonZeroUsize, max_len: usize) -> TextInput {
    let mut ids = vec![i64::from(special.cls)];
    let mut cls_positions = vec![0];
    for (i, &token) in content.iter().enumerate() {
        let begins = i > 0 && i % every == 0;
        // The token, the EOS, and the CLS that may come before the token.
        if ids.len() + 2 + usize::from(begins) > max_len {
            break;
        }
        if begins {
            cls_positions.push(ids.len());
            ids.push(i64::from(special.cls));
        }
        ids.push(i64::from(token));
    }
    ids.push(i64::from(special.eos));
    TextInput::with_cls_at(cls_positions, ids, special)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

    fn framed(num_tokens: u32, every: usize, max_len: usize) -> TextInput {
        let content: Vec<u32> = (10..10 + num_tokens).collect();
        frame_with_cls(&content, &SPECIAL, NonZeroUsize::new(every).unwrap(), max_len)
    }

    #[test]
    fn a_cls_begins_every_segment() {
        let text = framed(5, 2, 100);
        assert_eq!(text.ids, [0, 10, 11, 0, 12, 13, 0, 14, 2]);
        assert_eq!(text.cls_positions, [0, 3, 6]);
        assert_eq!(framed(4, 2, 100).ids, [0, 10, 11, 0, 12, 13, 2]);
    }

    #[test]
    fn a_short_text_is_framed_as_usual() {
        assert_eq!(framed(3, 4, 100), TextInput::with_cls_at(vec![0], vec![0, 10, 11, 12, 2], &SPECIAL));
        assert_eq!(framed(0, 4, 100).ids, [0, 2]);
    }

    #[test]
    fn the_limit_counts_inserted_tokens_and_leaves_no_cls_without_text() {
        for max_len in 2..20 {
            let text = framed(50, 3, max_len);
            assert!(text.ids.len() <= max_len && text.ids.len() + 2 > max_len, "{max_len}: {text:?}");
            assert_eq!(text.ids.last(), Some(&2));
            assert!(text.cls_positions.iter().all(|&at| max_len == 2 || text.ids[at + 1] != 2), "{max_len}: {text:?}");
        }
    }
}
