"""From a config to a pickle: render, build in the image, record, build again."""
