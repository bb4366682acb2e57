//! Names of languages, and how a text's own is told.

use whatlang::Script;

/// ISO 639-3 names as they are detected, and ISO 639-1 names as data sets have them.
const NAMES: &str = "\
    afr=af aka=ak amh=am ara=ar aze=az bel=be ben=bn bul=bg cat=ca ces=cs cmn=zh cym=cy dan=da deu=de ell=el \
    eng=en epo=eo est=et fin=fi fra=fr guj=gu heb=he hin=hi hrv=hr hun=hu hye=hy ind=id ita=it jav=jv jpn=ja \
    kan=kn kat=ka khm=km kor=ko lat=la lav=lv lit=lt mal=ml mar=mr mkd=mk mya=my nep=ne nld=nl nob=nb ori=or \
    pan=pa pes=fa pol=pl por=pt ron=ro rus=ru sin=si slk=sk slv=sl sna=sn spa=es srp=sr swe=sv tam=ta tel=te \
    tgl=tl tha=th tuk=tk tur=tr ukr=uk urd=ur uzb=uz vie=vi yid=yi zul=zu";

/// The two letters of a language whose three are known, or the name as it is.
pub fn short(name: &str) -> String {
    let mut known = NAMES.split(' ').filter_map(|pair| pair.split_once('='));
    known.find(|(three, _)| *three == name).map_or(name, |(_, two)| two).to_owned()
}

/// The two letters of a language, whatever follows them: `zh-Hant` is `zh`.
pub fn family(name: &str) -> String {
    short(name.split(['-', '_']).next().unwrap_or(name).to_lowercase().as_str())
}

/// Whether a question is in the language of its paragraph: in the same script, and where both are long and clear enough
/// to tell a language it is the same one.
pub fn same(question: &str, paragraph: &str) -> bool {
    if script(question) != script(paragraph) {
        return false;
    }
    let tell = |text: &str| whatlang::detect(text).filter(whatlang::Info::is_reliable).map(|info| info.lang());
    match (tell(question), tell(paragraph)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// A text's script. Chinese and Japanese are told apart by kana, as most of a Japanese sentence may be kanji.
fn script(text: &str) -> Option<Script> {
    if text.chars().any(|c| ('\u{3041}'..='\u{30fa}').contains(&c)) {
        return Some(Script::Hiragana);
    }
    whatlang::detect_script(text).map(|script| match script {
        Script::Katakana => Script::Hiragana,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart_by_script_and_by_words() {
        let english = "The bridge was built in 1890 by a company from Glasgow that had no experience with steel.";
        let german = "Die Brücke wurde 1890 von einer Firma aus Glasgow gebaut, die keine Erfahrung mit Stahl hatte.";
        assert!(same("Which company built the bridge in 1890, and where did the company come from?", english));
        assert!(!same("Welche Firma hat die Brücke gebaut, und welche Erfahrung hatte die Firma damit?", english));
        assert!(same("Welche Firma hat die Brücke gebaut, und welche Erfahrung hatte die Firma damit?", german));
        assert!(!same("谁建造了这座桥？", english));
        assert!(!same("橋は誰が建設しましたか？", "这座桥建于1890年，由格拉斯哥的一家公司建造。"));
        assert!(!same("这座桥建于哪一年？", "この橋は1890年にグラスゴーの会社によって建設された。"));
        assert_eq!([family("zh-Hant"), family("ENG"), family("x")], ["zh", "en", "x"]);
    }
}
