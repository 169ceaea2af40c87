-- The present reaction of each person to a WhatsApp message: a new one takes its place, an empty one withdraws it.
CREATE TABLE IF NOT EXISTS reaction (
    number_id     text NOT NULL,
    target        text NOT NULL,
    sender        text NOT NULL,
    event_id      text NOT NULL,
    PRIMARY KEY (number_id, target, sender)
);
