-- Logarithmic bins of a percentile meter: bin i holds what is above 1.02^(i-1) and not above 1.02^i.
CREATE MACRO bin_place(amount) AS ln(abs(plain_text(amount)::DOUBLE)) / ln(1.02::DOUBLE);

-- The bin of a value at its edge: of the powers of 1.02 these alone have at most nine decimals.
CREATE MACRO edge_bin(amount) AS list_position([1, 1.02, 1.0404, 1.061208, 1.08243216]::DECIMAL(38, 9)[], abs(amount)) - 1;

CREATE MACRO bin_of(amount) AS
    CASE
        WHEN amount = 0 THEN 'b0'
        ELSE CASE WHEN amount > 0 THEN 'bp' ELSE 'bn' END
            || coalesce(edge_bin(amount), ceil(bin_place(amount))::BIGINT)
    END;
