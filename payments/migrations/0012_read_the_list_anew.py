from django.db import migrations

# What was mirrored before lacks what is kept of a row now. It is Telegram's, and the next reading begins anew.
FORGET = """
    TRUNCATE payments_startransaction;
    UPDATE payments_mirrorcursor SET length = 0, balance = 0;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0011_compare_the_ledger_with_the_list'),
    ]

    operations = [
        migrations.RunSQL(FORGET, migrations.RunSQL.noop),
    ]
