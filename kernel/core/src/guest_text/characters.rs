//! Which characters of a guest stand in a line as they are.

use core::cmp::Ordering;

/// Characters that no line holds beside the controls: those that end a line or reorder it, and
/// those that a font is to show nothing for. From `DerivedCoreProperties.txt` of Unicode 16
/// (Default_Ignorable_Code_Point), less the variation selectors U+FE00 to U+FE0F, which choose the
/// form of the character before them; with line and paragraph separator, all of `Bidi_Control`
/// (`PropList.txt`), and the marks of interlinear annotation.
const HIDDEN: [(u32, u32); 18] = [
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x061c, 0x061c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfdd0, 0xfdef),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0xfffe, 0xffff),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
];

/// Whether a character takes part in a line as it is: it moves no cursor, reorders nothing and
/// hides nothing.
pub fn is_plain(character: char) -> bool {
    let code = u32::from(character);
    let place = |(first, last): &(u32, u32)| {
        if *last < code {
            Ordering::Less
        } else if *first > code {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    };
    // The last two of each plane are characters of nobody.
    !character.is_control() && code & 0xfffe != 0xfffe && HIDDEN.binary_search_by(place).is_err()
}
