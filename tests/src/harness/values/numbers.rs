//! Floats and numerics as PostgreSQL prints them.

/// `real`: the shortest text that reads back the same, scientific from 1e6 on.
pub fn float4(value: f32) -> String {
    special(f64::from(value)).unwrap_or_else(|| shortest(&format!("{value:e}"), 6))
}

/// `double precision`: the shortest text that reads back the same, scientific from 1e15 on.
pub fn float8(value: f64) -> String {
    special(value).unwrap_or_else(|| shortest(&format!("{value:e}"), 15))
}

fn special(value: f64) -> Option<String> {
    let text = match value {
        v if v.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => return None,
    };
    Some(text.into())
}

/// Turns `-1.25e7` into PostgreSQL's choice of plain or scientific notation.
fn shortest(scientific: &str, plain_below: i32) -> String {
    let (sign, unsigned) = match scientific.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", scientific),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < -4 || exponent >= plain_below {
        let point = if digits.len() > 1 { "." } else { "" };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        let (first, rest) = digits.split_at(1);
        return format!(
            "{sign}{first}{point}{rest}e{exponent_sign}{:02}",
            exponent.abs()
        );
    }
    let plain = if exponent < 0 {
        format!("0.{}{digits}", "0".repeat((-exponent - 1) as usize))
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            format!("{digits}{}", "0".repeat(whole - digits.len()))
        } else {
            format!("{}.{}", &digits[..whole], &digits[whole..])
        }
    };
    format!("{sign}{plain}")
}

/// `numeric`: base-10000 digits, a weight, a sign and the number of decimals shown.
pub fn numeric(bytes: &[u8]) -> Result<String, String> {
    let words: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return Err(format!("numeric header cut short: {bytes:?}"));
    };
    if !bytes.len().is_multiple_of(2) || usize::try_from(*count) != Ok(digits.len()) {
        return Err(format!(
            "numeric says {count} digits but has {}",
            digits.len()
        ));
    }
    if let Some(digit) = digits.iter().find(|digit| !(0..10_000).contains(*digit)) {
        return Err(format!("numeric digit {digit}"));
    }
    let sign = match *sign as u16 {
        0x0000 => "",
        0x4000 => "-",
        0xC000 => return Ok("NaN".into()),
        0xD000 => return Ok("Infinity".into()),
        0xF000 => return Ok("-Infinity".into()),
        other => return Err(format!("numeric sign {other:#x}")),
    };
    let digit = |power: i32| {
        let index = usize::try_from(i32::from(*weight) - power).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut whole = String::new();
    for power in (0..=i32::from(*weight).max(0)).rev() {
        whole.push_str(&format!("{:04}", digit(power)));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let scale = usize::try_from(*scale).map_err(|_| format!("numeric scale {scale}"))?;
    if scale == 0 {
        return Ok(format!("{sign}{whole}"));
    }
    let groups = scale.div_ceil(4) as i32;
    let fraction: String = (1..=groups)
        .map(|power| format!("{:04}", digit(-power)))
        .collect();
    Ok(format!("{sign}{whole}.{}", &fraction[..scale]))
}
