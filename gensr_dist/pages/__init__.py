"""Reports for people: tables, charts and one page that needs no network."""
