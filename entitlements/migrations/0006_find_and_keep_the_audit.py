from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0005_count_customers_by_day_and_plan'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='auditentry',
            options={'default_permissions': ('view',), 'verbose_name_plural': 'audit entries'},
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['name'], name='audit_by_name'),
        ),
    ]
