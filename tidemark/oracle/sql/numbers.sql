-- Exact decimals from text: reason of refusal, value, a key that orders numbers of any size, and one text for all equal
-- numbers.
CREATE MACRO is_number(written) AS regexp_full_match(written, '[+-]?\d+(\.\d+)?([eE][+-]?\d+)?');

-- Sign, digits before and after the point without outer zeros, exponent.
CREATE MACRO number_parts(written) AS
    regexp_extract(written, '^([+-]?)0*(\d*)(?:\.(\d*?)0*)?(?:[eE]([+-]?\d+))?$', ['sign', 'whole', 'decimals', 'exponent']);

CREATE MACRO exponent_of(p) AS
    CASE
        WHEN length(ltrim(p.exponent, '+-0')) > 9 THEN CASE WHEN p.exponent[1] = '-' THEN -1 ELSE 1 END * 1000000000000
        ELSE coalesce(try_cast(p.exponent AS BIGINT), 0)
    END;

CREATE MACRO significant_of(p) AS trim(p.whole || p.decimals, '0');

-- Places of the leading digit before, and of the last digit after the point, once the exponent is applied.
CREATE MACRO places_before(p) AS
    CASE
        WHEN p.whole <> '' THEN length(p.whole)
        ELSE length(ltrim(p.decimals, '0')) - length(p.decimals)
    END + exponent_of(p);

CREATE MACRO places_after(p) AS
    CASE
        WHEN p.decimals <> '' THEN length(p.decimals)
        ELSE length(rtrim(p.whole, '0')) - length(p.whole)
    END - exponent_of(p);

-- Decimals as whole billionths, and back; neither way rounds.
CREATE MACRO billionths(amount) AS replace(amount::DECIMAL(38, 9)::VARCHAR, '.', '')::HUGEINT;

CREATE MACRO of_billionths(whole) AS
    ((CASE WHEN whole < 0 THEN '-' ELSE '' END)
        || (abs(whole) // 1000000000)::VARCHAR || '.' || lpad((abs(whole) % 1000000000)::VARCHAR, 9, '0'))::DECIMAL(38, 9);

-- Half-even to billionths, of digits of which the first `kept` are whole ones: what is left out is compared as text with
-- a half. A cast would round half up. Bounded, because what no CASE selects may be reckoned all the same.
CREATE MACRO rounded_at(digits, kept) AS
    coalesce(try_cast(left(digits, kept) AS HUGEINT), 0::HUGEINT) + CASE
        WHEN substr(digits, kept + 1) > '5'                                                               THEN 1
        WHEN substr(digits, kept + 1) = '5' AND right(left(digits, kept), 1) IN ('1', '3', '5', '7', '9') THEN 1
        ELSE 0
    END;

CREATE MACRO rounded_billionths(digits, kept) AS
    CASE WHEN kept < 0 THEN 0::HUGEINT ELSE rounded_at(digits, least(greatest(kept, 0), 28)) END;

-- The value of a number of at most 18 digits before the point, with its parts. A macro's argument stands wherever it is
-- used, so the parts are a column of the statement before: else DuckDB plans each number for seconds.
CREATE MACRO number_value(written, p) AS
    CASE
        WHEN significant_of(p) = ''     THEN 0::DECIMAL(38, 9)
        WHEN places_after(p) <= 9       THEN try_cast(written AS DECIMAL(38, 9))
        -- Fewer than 10^29 billionths: the product is exact.
        ELSE (rounded_billionths(significant_of(p), (places_before(p) + 9)::BIGINT)
            * CASE WHEN p.sign = '-' THEN -1 ELSE 1 END)::DECIMAL(29, 0) * 0.000000001::DECIMAL(9, 9)
    END;

-- Why a JSON value of this type and text is not a number that can be counted; NULL if it is one.
CREATE MACRO number_refusal(kind, written, p) AS
    CASE
        WHEN kind NOT IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')                   THEN 'wrong_type'
        WHEN regexp_full_match(written, '-?\d{1,18}(\.\d{1,9})?')                                THEN NULL
        WHEN regexp_full_match(written, '(?i)[+-]?(s?nan\d*|inf(inity)?)')                       THEN 'non_finite_quantity'
        WHEN NOT is_number(written)                                                              THEN 'invalid_quantity'
        WHEN significant_of(p) = ''                                                              THEN NULL
        WHEN places_before(p) > 18                                                               THEN 'quantity_out_of_range'
        WHEN abs(number_value(written, p)) >= 1000000000000000000                                THEN 'quantity_out_of_range'
    END;

-- Why a meter that accepts at most 9 decimals refuses a number that is otherwise accepted.
CREATE MACRO precision_refusal(p) AS
    CASE WHEN significant_of(p) <> '' AND places_after(p) > 9 THEN 'quantity_too_precise' END;

-- One text for all numbers of a value: no exponent, but where over 100 zeros would put the point. Bounded as above.
CREATE MACRO plain_digits(digits, exponent) AS
    CASE
        WHEN exponent >= 0 THEN digits || repeat('0', exponent)
        ELSE left(lpad(digits, greatest(length(digits), 1 - exponent)::INTEGER, '0'),
                greatest(length(digits), 1 - exponent) + exponent)
            || '.' || right(lpad(digits, greatest(length(digits), 1 - exponent)::INTEGER, '0'), -exponent)
    END;

CREATE MACRO number_text_of(sign, digits, exponent) AS
    CASE
        WHEN digits = ''                                                  THEN '0'
        WHEN exponent > 100 OR -(length(digits) + exponent) > 100         THEN sign || digits || 'E' || exponent
        ELSE sign || plain_digits(digits, least(greatest(exponent, -(length(digits) + 100)), 100)::BIGINT)
    END;

CREATE MACRO number_text(p) AS number_text_of(replace(p.sign, '+', ''), significant_of(p), -places_after(p));

-- The text by which a JSON value is grouped and counted: equal numbers have the same text.
CREATE MACRO group_text(kind, written, p) AS
    CASE WHEN kind IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE') THEN number_text(p) ELSE written END;

-- Structs compare field by field: sign, place of the leading digit, digits. Of negative numbers the order turns round.
CREATE MACRO number_key(written, p) AS
    CASE
        WHEN NOT is_number(written) THEN NULL
        WHEN significant_of(p) = '' THEN {'sign': 0::BIGINT, 'place': 0::BIGINT, 'digits': ''}
        WHEN p.sign = '-' THEN {
            'sign': -1::BIGINT,
            'place': -places_before(p)::BIGINT,
            'digits': translate(significant_of(p), '0123456789', '9876543210') || '~'
        }
        WHEN written IS NOT NULL THEN
            {'sign': 1::BIGINT, 'place': places_before(p)::BIGINT, 'digits': significant_of(p)}
    END;

-- Plain text: no exponent, no trailing zeros.
CREATE MACRO plain_text(amount) AS rtrim(rtrim(amount::DECIMAL(38, 9)::VARCHAR, '0'), '.');

-- JSON text of a string as Python and most others write it: DuckDB's hexadecimal digits are upper case. A pair of
-- backslashes is set aside, so that a backslash and a "u" in the string itself are not taken for an escape.
CREATE MACRO json_text(written) AS
    CASE
        WHEN regexp_matches(written, '[\x0b\x0e\x0f\x1a-\x1f]') THEN
            replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(
                replace(to_json(written)::VARCHAR, '\\', chr(1)),
                '\u000B', '\u000b'), '\u000E', '\u000e'), '\u000F', '\u000f'), '\u001A', '\u001a'), '\u001B', '\u001b'),
                '\u001C', '\u001c'), '\u001D', '\u001d'), '\u001E', '\u001e'), '\u001F', '\u001f'), '', ''),
                chr(1), '\\')
        ELSE to_json(written)::VARCHAR
    END;
