"""What this project is measured against."""
