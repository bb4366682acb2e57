//! Families of models that compute what BERT computes, as transformers names them.

/// A family of models, with the defaults that transformers has for it alone.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub pad_token_id: usize,
    pub vocab_size: usize,
    /// The class of a bare encoder.
    pub class: &'static str,
    /// The class of an encoder with the head that predicts masked words.
    pub masked_lm: &'static str,
    /// What stands before the encoder's names in that class.
    pub prefix: &'static str,
}

pub static FAMILIES: [Family; 4] = [
    Family {
        name: "xlm-roberta",
        pad_token_id: 1,
        vocab_size: 30_522,
        class: "XLMRobertaModel",
        masked_lm: "XLMRobertaForMaskedLM",
        prefix: "roberta",
    },
    Family {
        name: "roberta",
        pad_token_id: 1,
        vocab_size: 50_265,
        class: "RobertaModel",
        masked_lm: "RobertaForMaskedLM",
        prefix: "roberta",
    },
    Family {
        name: "camembert",
        pad_token_id: 1,
        vocab_size: 30_522,
        class: "CamembertModel",
        masked_lm: "CamembertForMaskedLM",
        prefix: "roberta",
    },
    Family {
        name: "bert",
        pad_token_id: 0,
        vocab_size: 30_522,
        class: "BertModel",
        masked_lm: "BertForMaskedLM",
        prefix: "bert",
    },
];
