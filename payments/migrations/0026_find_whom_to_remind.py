from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0025_count_subscriptions_anew'),
    ]

    operations = [
        migrations.AddField(
            model_name='subscription',
            name='reminded_of',
            field=models.CharField(blank=True, db_default='', default='', editable=False, help_text='Of its period, the last.', max_length=20),
        ),
        migrations.AddIndex(
            model_name='subscription',
            index=models.Index(condition=models.Q(models.Q(('state', 'ended'), _negated=True), models.Q(('reminded_of', 'subscription_ending'), _negated=True)), fields=['current_period_end'], name='subscription_ending_untold'),
        ),
        migrations.AddIndex(
            model_name='subscription',
            index=models.Index(condition=models.Q(('state', 'failed'), models.Q(('reminded_of', 'subscription_failed'), _negated=True)), fields=['current_period_end'], name='subscription_failed_untold'),
        ),
        migrations.AddIndex(
            model_name='subscription',
            index=models.Index(condition=models.Q(('state', 'ended'), models.Q(('reminded_of', 'subscription_ended'), _negated=True)), fields=['state_changed_at'], name='subscription_ended_untold'),
        ),
    ]
