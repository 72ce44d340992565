"""Restoration: take a degradation away. The label is the picture itself."""

from .task import Task

DENOISE = Task(
    name="denoise",
    domain="restoration",
    summary="take sensor noise out of a picture",
    instructions=(
        "Remove the noise from this picture.",
        "Denoise this picture.",
        "Clean up the grain in this picture.",
        "Smooth away the sensor noise but keep the edges; the picture is grainy.",
        "Reduce the noise and keep the fine detail.",
        "Give me a noise-free version of this picture.",
        "Remove all the random speckles from the picture.",
        "Filter out the high ISO noise.",
        "Turn this grainy shot into a clear one.",
        "Restore what lies under the noise; the sensor was too hot.",
        "Get a denoised copy of this picture.",
        "Make the grain disappear; it spoils the picture.",
    ),
)

LOW_LIGHT = Task(
    name="low_light",
    domain="restoration",
    summary="brighten a picture that was taken in too little light",
    instructions=(
        "Brighten this picture; it was taken in the dark.",
        "Fix the exposure; the picture is far too dark.",
        "Enhance this low-light picture.",
        "Make this dark picture look like daylight.",
        "Restore the brightness of this night shot.",
        "Turn up the light in this picture.",
        "Raise the exposure until the shadows can be read.",
        "Correct the low light; there was hardly any lamp on.",
        "Give this dark picture a normal exposure.",
        "Brighten the picture and keep its colors natural.",
        "Show what this scene looks like when it is well lit; it is too dark.",
        "Recover the detail hidden by darkness.",
    ),
)

DERAIN = Task(
    name="derain",
    domain="restoration",
    summary="take rain streaks out of a picture",
    instructions=(
        "Remove the rain from this picture.",
        "Derain this picture.",
        "Wipe the rain streaks off the picture.",
        "Make it stop raining in this picture.",
        "Clear away the falling rain; it hides the scene.",
        "Show this place in dry weather; it was raining.",
        "Erase every raindrop streak.",
        "Restore the view behind the rain.",
        "Turn this rainy picture into a dry one.",
        "Take the bright streaks of rain out.",
        "Get a rain-free version of the picture.",
        "Undo the rain and the mist it brings.",
    ),
)

TASKS = (DENOISE, LOW_LIGHT, DERAIN)
