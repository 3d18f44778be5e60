"""What a fitted model says of rows: values, leaves, stages, SHAP values."""
