"""Write the result of a validation as one HTML page, ``report.html``."""
