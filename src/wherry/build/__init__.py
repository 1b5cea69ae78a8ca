"""Dockerfile → image. Start at `builder.Builder`; `builder.build` and `options.BuildOptions` are what others use."""
