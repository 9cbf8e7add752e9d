-- Logarithmic bins of a percentile meter: bin i holds what is above 1.02^(i-1) and not above 1.02^i.
CREATE MACRO bin_place(amount) AS ln(abs(plain_text(amount)::DOUBLE)) / ln(1.02::DOUBLE);

CREATE MACRO bin_of(amount) AS
    CASE
        WHEN amount = 0 THEN 'b0'
        ELSE CASE WHEN amount > 0 THEN 'bp' ELSE 'bn' END
            || CASE WHEN abs(amount) = 1 THEN 0 ELSE ceil(bin_place(amount))::BIGINT END
    END;
