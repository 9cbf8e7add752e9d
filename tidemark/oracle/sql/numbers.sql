-- Exact decimals out of written text: verdict, value, and a key that orders numbers of any size.
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

-- Why a JSON value of this type and text is no number that can be counted; NULL if it is one.
CREATE MACRO number_refusal(kind, written) AS
    CASE
        WHEN kind NOT IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')                   THEN 'wrong_type'
        WHEN regexp_full_match(written, '-?\d{1,18}(\.\d{1,9})?')                                THEN NULL
        WHEN regexp_full_match(written, '(?i)[+-]?(s?nan\d*|inf(inity)?)')                       THEN 'non_finite_quantity'
        WHEN NOT is_number(written)                                                              THEN 'invalid_quantity'
        WHEN significant_of(number_parts(written)) = ''                                          THEN NULL
        WHEN places_before(number_parts(written)) > 18                                           THEN 'quantity_out_of_range'
        WHEN places_after(number_parts(written)) > 9                                             THEN 'quantity_too_precise'
    END;

-- The value of a text that is not refused. Zero may be written with an exponent that no cast takes.
CREATE MACRO number_value(written) AS coalesce(try_cast(written AS DECIMAL(38, 9)), 0::DECIMAL(38, 9));

-- Structs compare field by field: sign, place of the leading digit, digits. Of negative numbers the order turns round.
CREATE MACRO number_key_of(p) AS
    CASE
        WHEN significant_of(p) = '' THEN {'sign': 0::BIGINT, 'place': 0::BIGINT, 'digits': ''}
        WHEN p.sign = '-' THEN {
            'sign': -1::BIGINT,
            'place': -places_before(p)::BIGINT,
            'digits': translate(significant_of(p), '0123456789', '9876543210') || '~'
        }
        ELSE {'sign': 1::BIGINT, 'place': places_before(p)::BIGINT, 'digits': significant_of(p)}
    END;

CREATE MACRO number_key(written) AS CASE WHEN is_number(written) THEN number_key_of(number_parts(written)) END;

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
