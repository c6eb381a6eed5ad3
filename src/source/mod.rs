//! Pages of what the shop knows become rows of the lake, under the pull law.
