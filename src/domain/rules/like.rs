//! Patterns of `like`, as in SQL Server, on which ConnectWise runs: `%` is any run of characters, `_` any one
//! character, `[abc]` and `[a-f]` one of a set, `[^abc]` one outside the set, and `[[]` a plain `[`.
//!
//! A pattern is split at `%` into segments. Segments are matched from left to right, each at its first match, which
//! leaves the most text for the rest. This needs no backtracking, so no pattern is slow.

use memchr::memmem::Finder;

use crate::domain::text::fold;

/// A compiled pattern, which matches folded text.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    /// Plain text: searched for in linear time.
    Plain { text: String, finder: Finder<'static> },
    /// Contains `_` or a set. The text before the first of them is searched for as plain text.
    Wild { pieces: Vec<Piece>, lead: Finder<'static> },
}

#[derive(Debug, Clone)]
enum Piece {
    One(char),
    Any,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Why a pattern is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPattern {
    NoPercent,
    OpenSet,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, BadPattern> {
        let mut segments = vec![Vec::new()];
        let folded = fold(pattern);
        let mut rest = folded.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                '%' => {
                    segments.push(Vec::new());
                    continue;
                }
                '_' => Piece::Any,
                '[' => set(&mut rest).ok_or(BadPattern::OpenSet)?,
                c => Piece::One(c),
            };
            if let Some(last) = segments.last_mut() {
                last.push(piece);
            }
        }
        if segments.len() < 2 {
            return Err(BadPattern::NoPercent);
        }
        Ok(Self { segments: segments.into_iter().map(Segment::new).collect() })
    }

    /// Whether a folded text matches.
    pub(super) fn fits(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.segments.as_slice() else { return false };
        let Some(mut rest) = first.strip_prefix(text) else { return false };
        for segment in middle {
            match segment.find_end(rest) {
                Some(end) => rest = &rest[end..],
                None => return false,
            }
        }
        last.is_suffix_of(rest)
    }
}

fn set(rest: &mut std::str::Chars<'_>) -> Option<Piece> {
    let mut members = Vec::new();
    let mut negated = false;
    loop {
        match rest.next()? {
            ']' if !members.is_empty() => break,
            '^' if members.is_empty() && !negated => negated = true,
            c => members.push(c),
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        match members.get(at..at + 3) {
            Some(&[from, '-', to]) => {
                ranges.push((from, to));
                at += 3;
            }
            _ => {
                ranges.push((members[at], members[at]));
                at += 1;
            }
        }
    }
    Some(Piece::Set { negated, ranges })
}

impl Piece {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::One(one) => *one == c,
            Self::Any => true,
            Self::Set { negated, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated,
        }
    }
}

impl Segment {
    fn new(pieces: Vec<Piece>) -> Self {
        let lead: String =
            pieces.iter().map_while(|piece| if let Piece::One(c) = piece { Some(*c) } else { None }).collect();
        let finder = Finder::new(&lead).into_owned();
        if lead.chars().count() == pieces.len() {
            Self::Plain { text: lead, finder }
        } else {
            Self::Wild { pieces, lead: finder }
        }
    }

    fn strip_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Plain { text: plain, .. } => text.strip_prefix(plain.as_str()),
            Self::Wild { pieces, .. } => {
                let mut chars = text.chars();
                pieces.iter().all(|piece| chars.next().is_some_and(|c| piece.fits(c))).then_some(chars.as_str())
            }
        }
    }

    fn is_suffix_of(&self, text: &str) -> bool {
        match self {
            Self::Plain { text: plain, .. } => text.ends_with(plain.as_str()),
            Self::Wild { pieces, .. } => {
                let mut chars = text.chars().rev();
                pieces.iter().rev().all(|piece| chars.next().is_some_and(|c| piece.fits(c)))
            }
        }
    }

    /// Returns where the first match ends, in bytes.
    fn find_end(&self, text: &str) -> Option<usize> {
        match self {
            Self::Plain { text: plain, finder } => finder.find(text.as_bytes()).map(|at| at + plain.len()),
            Self::Wild { lead, .. } => {
                let mut from = 0;
                loop {
                    let at = from + lead.find(&text.as_bytes()[from..])?;
                    if let Some(rest) = self.strip_prefix(&text[at..]) {
                        return Some(text.len() - rest.len());
                    }
                    from = at + text[at..].chars().next()?.len_utf8();
                }
            }
        }
    }
}
