"""Deploy: build a variant's package, see what is in it, download it."""

import streamlit as st
