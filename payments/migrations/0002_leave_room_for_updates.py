from django.db import migrations


class Migration(migrations.Migration):
    """A payment updates a row of this table: with room on its page, and no index to tell, that is one cheap write."""

    dependencies = [("payments", "0001_books")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE payments_invoice SET (fillfactor = 75)",
            reverse_sql="ALTER TABLE payments_invoice RESET (fillfactor)",
        ),
    ]
