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

RAINDROP = Task(
    name="raindrop",
    domain="restoration",
    summary="take water drops off the lens or the window",
    instructions=(
        "Remove the raindrops from the lens.",
        "Wipe the water drops off the glass.",
        "Clear the window of water drops; they distort the view.",
        "Show the scene through a dry lens; it is spattered with drops.",
        "Get rid of the droplets that cling to the lens.",
        "Dry the wet glass in front of the camera.",
        "Take away the round water spots; drops sit on the lens.",
        "Restore what the drops on the glass hide.",
        "Give me the view without droplets on the window pane.",
        "Make each drop on the lens disappear.",
        "Undo the adherent raindrops.",
        "The lens got wet; wipe off its drops.",
    ),
)

DEMOIRE = Task(
    name="demoire",
    domain="restoration",
    summary="take moire stripes out of a picture of a screen",
    instructions=(
        "Remove the moire from this picture.",
        "Demoire this picture.",
        "Take out the moire pattern; a screen was photographed.",
        "Suppress the rainbow stripes that a screen leaves.",
        "Clear the moire fringes away.",
        "Repair this shot of a monitor; colored bands cover it.",
        "Get a moire-free version of the picture.",
        "Make the wavy interference pattern disappear.",
        "Filter the screen moire out of this picture.",
        "Smooth away the moire bands and keep the colors.",
        "Undo the aliasing stripes of the display.",
        "This is a photographed screen; take its moire ripples away.",
    ),
)

DEHAZE = Task(
    name="dehaze",
    domain="restoration",
    summary="take haze and fog out of a picture",
    instructions=(
        "Remove the haze from this picture.",
        "Dehaze this picture.",
        "Clear up the fog; the far parts look pale.",
        "Lift the fog from this scene.",
        "Restore the contrast that the haze took.",
        "Make the hazy air clear.",
        "Get a haze-free version of the picture.",
        "Show this view on a clear day; it is hazy.",
        "Take the gray veil of fog away.",
        "Cut through the smog in this picture.",
        "Turn this foggy scene into a clear one.",
        "Undo the haze between the camera and the scene.",
    ),
)

DEBLUR = Task(
    name="deblur",
    domain="restoration",
    summary="sharpen a picture that is out of focus or was shaken",
    instructions=(
        "Remove the blur from this picture.",
        "Deblur this picture.",
        "Sharpen this blurry picture.",
        "Undo the motion blur; the camera shook.",
        "Make the blurred edges sharp again.",
        "Bring this picture into focus.",
        "Restore the sharp detail; the shot is blurry.",
        "Fix the camera shake.",
        "Get a sharp version of this blurred picture.",
        "Correct the defocus of the lens.",
        "Turn this blurry shot into a sharp one.",
        "Reverse the smear of the movement.",
    ),
)

DESNOW = Task(
    name="desnow",
    domain="restoration",
    summary="take falling snow out of a picture",
    instructions=(
        "Remove the snow from this picture.",
        "Desnow this picture.",
        "Clear the falling snowflakes away; they hide the scene.",
        "Make it stop snowing in this picture.",
        "Take all the white flakes out.",
        "Restore the view behind the snowfall.",
        "Turn this snowy picture into one without snow.",
        "Get a snow-free version of the picture.",
        "Erase each snowflake.",
        "Show this place before the snow fell; it is snowing.",
        "Undo the snowfall in this scene.",
        "Filter the flakes of snow out of the air.",
    ),
)

DESHADOW = Task(
    name="deshadow",
    domain="restoration",
    summary="take cast shadows out of a picture",
    instructions=(
        "Remove the shadow from this picture.",
        "Deshadow this picture.",
        "Make the cast shadow disappear.",
        "Light the shadowed area like the rest.",
        "Even out the light; a shadow falls over the picture.",
        "Erase all the shadows on the ground.",
        "Get a shadow-free version of the picture.",
        "Lift the heavy shadow that lies over the scene.",
        "Show the scene without any shadow.",
        "Restore the colors under the shadow.",
        "Take away the shade that something throws across the picture.",
        "Undo the shadow; it should look evenly lit.",
    ),
)

FLASH = Task(
    name="flash_reflection",
    domain="restoration",
    summary="take flash glare and reflections off glass",
    instructions=(
        "Remove the flash reflection from this picture.",
        "Take the glare of the flash away.",
        "Get rid of the reflection in the glass.",
        "Clear the bright flash spot; it hides what is behind the glass.",
        "Show what is behind the reflecting window.",
        "Undo the glare that the flash made.",
        "Make the reflected light disappear.",
        "Erase the ghost picture that the glass reflects.",
        "Restore the parts that the flash washed over.",
        "Give me the picture without reflections.",
        "Suppress the mirror image on the pane; the flash fired.",
        "Filter out everything the glass reflects.",
    ),
)

FACE = Task(
    name="face",
    domain="restoration",
    summary="restore a face in a bad picture",
    instructions=(
        "Restore this portrait.",
        "Restore the face in this picture; it is of low quality.",
        "Make the face detailed and lifelike.",
        "Repair this damaged portrait.",
        "Enhance the face; it is blurry and noisy.",
        "Give the portrait its detail back.",
        "Sharpen the eyes, nose and mouth of this face.",
        "Recover a good portrait from this bad one.",
        "Clean up the degraded face.",
        "Improve the quality of this face.",
        "Bring out the facial features.",
        "Turn this ruined portrait into a good one.",
    ),
)

WATERMARK = Task(
    name="watermark",
    domain="restoration",
    summary="take overlaid marks and letters off a picture",
    instructions=(
        "Remove the watermark from this picture.",
        "Erase the watermark.",
        "Take the overlaid logo off the picture.",
        "Clear away the stamped letters; they cover the picture.",
        "Get a watermark-free version of the picture.",
        "Wipe out the copyright mark.",
        "Restore what is under the watermark.",
        "Delete the see-through text that lies over the picture.",
        "Make the watermark letters disappear.",
        "Undo the watermark and leave the picture as it was.",
        "Strip the overlay text off; it is a watermark.",
        "Show the picture without its watermark.",
    ),
)

SUPER = Task(
    name="super_resolution",
    domain="restoration",
    summary="make a low-resolution picture fine again",
    instructions=(
        "Increase the resolution of this picture.",
        "Super-resolve this picture.",
        "Enlarge this picture with fine detail.",
        "Bring fine detail into this low-resolution picture.",
        "Turn these coarse pixels into a sharp high-resolution picture.",
        "Make a high-resolution version; this one is too small.",
        "Restore the resolution; the picture was shrunk.",
        "Enlarge the small picture and keep it sharp.",
        "Give me more resolution.",
        "Remove the pixel blocks; the resolution is too low.",
        "Reconstruct the detail that downsampling lost.",
        "Refine this pixelated picture.",
    ),
)

FADE = Task(
    name="color_fade",
    domain="restoration",
    summary="bring faded colours back",
    instructions=(
        "Restore the faded colors of this picture.",
        "Bring the colors of this old picture back.",
        "Make the pale colors rich again.",
        "Fix the faded print; the years took its color.",
        "Undo the fading of the colors.",
        "Give this faded picture its original colors.",
        "Correct the yellow cast of this old print.",
        "Raise the saturation; the picture is faded.",
        "Revive the bleached colors.",
        "Make this faded picture look new.",
        "Repair the washed tones of the aged picture.",
        "Recover the lost contrast and color; it is an old faded print.",
    ),
)

TASKS = (
    DENOISE,
    LOW_LIGHT,
    DERAIN,
    RAINDROP,
    DEMOIRE,
    DEHAZE,
    DEBLUR,
    DESNOW,
    DESHADOW,
    FLASH,
    FACE,
    WATERMARK,
    SUPER,
    FADE,
)
