//! Lines made from the table, for tests and as seeds of the fuzzing.

use super::arguments::Argument;
use super::shape::Shape;
use super::table::LINES;

/// Returns the words of a line of the table. `choose(n)` returns a number below `n`, for every choice that the notation
/// leaves; the same choices make the same line.
pub fn line(choose: &mut dyn FnMut(usize) -> usize) -> Vec<String> {
    let mut words = Vec::new();
    let lines = &*LINES;
    expand(&lines[choose(lines.len())].shape, choose, &mut words);
    words
}

/// Returns the words of the line in this row of the table.
pub fn line_of_row(row: usize, choose: &mut dyn FnMut(usize) -> usize) -> Vec<String> {
    let mut words = Vec::new();
    expand(&LINES[row % LINES.len()].shape, choose, &mut words);
    words
}

/// Returns a source of choices that only depends on the seed.
pub fn choices(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move |count| {
        // The generator of Knuth's MMIX; its high bits are good enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(state >> 33).unwrap_or_default();
        if count == 0 { 0 } else { high % count }
    }
}

fn expand(shape: &Shape, choose: &mut dyn FnMut(usize) -> usize, words: &mut Vec<String>) {
    match shape {
        Shape::Literal(word) => words.push((*word).to_owned()),
        Shape::Value(kind) => {
            let samples = kind.samples();
            let sample = samples[choose(samples.len())];
            // Types that take the rest of a line are samples of several words.
            if kind.takes_the_rest() {
                words.extend(sample.split(' ').map(str::to_owned));
            } else {
                words.push(number_within(*kind).unwrap_or_else(|| sample.to_owned()));
            }
        }
        Shape::Call(name, wanted) => {
            let arguments = Vec::from_iter(wanted.iter().filter_map(|argument| argument_text(argument, choose)));
            words.push(format!("{name}({})", arguments.join(",")));
        }
        Shape::Sequence(shapes) => shapes.iter().for_each(|shape| expand(shape, choose, words)),
        Shape::Optional(shape) => {
            if choose(2) == 1 {
                expand(shape, choose, words);
            }
        }
        Shape::OneOf(shapes) => expand(&shapes[choose(shapes.len())], choose, words),
        Shape::AnyOrder(items) => {
            let mut rest = Vec::from_iter(items);
            for _ in 0..choose(4) {
                if rest.is_empty() {
                    break;
                }
                let item = rest.swap_remove(choose(rest.len()));
                expand(&item.shape, choose, words);
            }
        }
        Shape::Many(shape) => (0..=choose(2)).for_each(|_| expand(shape, choose, words)),
    }
}

fn number_within(kind: super::kind::Kind) -> Option<String> {
    match kind {
        super::kind::Kind::Number(min, max) => Some(7.clamp(min, max).to_string()),
        _ => None,
    }
}

fn argument_text(argument: &Argument, choose: &mut dyn FnMut(usize) -> usize) -> Option<String> {
    let samples = argument.kind.samples();
    let is_present = !argument.optional || choose(2) == 1;
    // A comma would begin the next argument.
    is_present.then(|| samples[choose(samples.len())].split(',').next().unwrap_or_default().to_owned())
}
