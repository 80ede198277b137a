SELECT stray_rows()
