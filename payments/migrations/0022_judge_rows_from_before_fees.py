from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0021_book_fees_and_disputes'),
    ]

    operations = [
        ValidateConstraint(model_name='paymentevent', name='payment_event_type_of_its_method'),
        ValidateConstraint(model_name='paymentevent', name='payment_event_only_costs_cost'),
    ]
