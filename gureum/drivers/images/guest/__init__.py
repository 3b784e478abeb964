"""Files of the built-in images, put into their layers as they are; no code of gureum runs from here."""
